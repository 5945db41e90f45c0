"""Toys of families whose experts differ from the gated MLP: gpt-oss, Llama 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import GptOssConfig, Llama4Config, Llama4TextConfig

from freehold.models.blocks import Late
from tests.parity.family import FamilyToy, Flip, plain_keys
from tests.parity.toy import Array

_DIMS: Mapping[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 4,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _set(**changes: Any) -> Flip:
    return lambda config: replace(config, **changes)


def _moe(**changes: Any) -> Flip:
    return lambda config: replace(config, moe=replace(config.moe, **changes))


def _stacked(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array | None:
    """Experts lie input first; biases and sinks are as large as what they join."""
    if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return np.asarray(1.5 * rng.standard_normal(shape) / np.sqrt(shape[-2]))
    if name.endswith(("_bias", "sinks")):
        return np.asarray(rng.standard_normal(shape))
    return None


def _apart(name: str, values: Array) -> dict[str, Array]:
    """The converter's gates and ups of gpt-oss, output first."""
    if name.endswith("gate_up_proj_bias"):
        gate, up = values[:, ::2], values[:, 1::2]
        stem = name.removesuffix("gate_up_proj_bias")
        return {stem + "gate_proj.bias": gate, stem + "up_proj.bias": up}
    if name.endswith("down_proj_bias"):
        return {name.removesuffix("_bias") + ".bias": values}
    if name.endswith("experts.gate_up_proj"):
        rows = values.swapaxes(1, 2)
        stem = name.removesuffix("gate_up_proj")
        return {stem + "gate_proj.weight": rows[:, ::2], stem + "up_proj.weight": rows[:, 1::2]}
    if name.endswith("experts.down_proj"):
        return {name + ".weight": values.swapaxes(1, 2)}
    if name.endswith("sinks"):
        return {name + ".weight": values}
    return {name: values}


def _gpt_oss() -> FamilyToy:
    rope = {
        "rope_type": "yarn",
        "rope_theta": 15000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
    }
    config = GptOssConfig(
        **_DIMS,
        intermediate_size=48,
        num_local_experts=8,
        num_experts_per_tok=3,
        sliding_window=40,
        rope_parameters=rope,
        swiglu_limit=1.5,
        attn_implementation="eager",
    )
    return FamilyToy(
        name="gpt-oss",
        config=config,
        drawn=_stacked,
        flips={
            "limit": _set(limit=7.0),
            "slope": _set(slope=1.0),
            "windows": _set(windows=()),
            "which windows": _set(windows=(0, 40, 0, 40)),
            "renormalise": _moe(renormalise=False),
            "whole dimensions": lambda config: replace(
                config, rope_scaling=replace(config.rope_scaling, truncate=True)
            ),
        },
    )


def _gpt_oss_file() -> FamilyToy:
    toy = _gpt_oss()
    config = GptOssConfig(**(toy.config.to_dict() | {"swiglu_limit": 7.0}))
    keys = plain_keys(config) | {
        "attention.sliding_window": 40,
        "expert_count": 8,
        "expert_used_count": 3,
        "expert_feed_forward_length": 48,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 64,
    }
    return FamilyToy(
        name="gpt-oss, as released",
        config=config,
        arch="gpt-oss",
        keys=keys,
        change=_apart,
        drawn=_stacked,
        flips={"experts": _moe(chosen=2)},
    )


_LLAMA4: Mapping[str, Any] = {
    **_DIMS,
    "intermediate_size": 48,
    "intermediate_size_mlp": 96,
    "num_local_experts": 4,
    "attention_chunk_size": 40,
    "floor_scale": 4,
    "attn_scale": 0.5,
}


def _llama4() -> FamilyToy:
    rope = {
        "rope_type": "llama3",
        "rope_theta": 1e4,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 1.0,
        "original_max_position_embeddings": 64,
    }
    config = Llama4TextConfig(**_LLAMA4, interleave_moe_layer_step=2, rope_parameters=rope)
    return FamilyToy(
        name="llama4",
        config=config,
        drawn=_stacked,
        flips={
            "chunks": _set(chunk=0),
            "chunks by one": _set(chunk=39),
            "norms of heads": _set(unit_heads=False),
            "late queries": _set(late=None),
            "late by one": _set(late=Late(4, 0.5)),
            "all layers rotate": _set(unrotated=frozenset()),
            "scoring": _moe(scoring="softmax"),
        },
    )


def _llama4_wrapped() -> FamilyToy:
    text = dict(_LLAMA4) | {"use_qk_norm": False, "attn_temperature_tuning": False}
    vision = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    vision |= {"vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32}
    config = Llama4Config(
        text_config=Llama4TextConfig(**text, num_experts_per_tok=2), vision_config=vision
    )
    return FamilyToy(
        name="llama4 with vision, two experts, heads not normed",
        config=config,
        drawn=_stacked,
        flips={"norms of heads": _set(unit_heads=True), "experts": _moe(chosen=1)},
    )


def _llama4_names(name: str, values: Array) -> dict[str, Array]:
    if name.endswith("experts.gate_up_proj"):
        gate, up = np.split(values.swapaxes(1, 2), 2, axis=1)
        stem = name.removesuffix("gate_up_proj")
        return {stem + "gate_proj.weight": gate, stem + "up_proj.weight": up}
    if name.endswith("experts.down_proj"):
        return {name + ".weight": values.swapaxes(1, 2)}
    return {name: values}


def _llama4_file() -> FamilyToy:
    text = dict(_LLAMA4) | {"attention_chunk_size": 8192, "floor_scale": 8192, "attn_scale": 0.1}
    config = Llama4TextConfig(**text, interleave_moe_layer_step=2)
    said = plain_keys(config) | {
        "feed_forward_length": 96,
        "expert_feed_forward_length": 48,
        "expert_count": 4,
        "expert_used_count": 1,
        "interleave_moe_layer_step": 2,
    }
    return FamilyToy(
        name="llama4, as released",
        config=config,
        arch="llama4",
        keys=said,
        change=_llama4_names,
        drawn=_stacked,
        flips={"every layer sparse": _set(unrotated=frozenset({0}))},
    )


TOYS = (_gpt_oss(), _gpt_oss_file(), _llama4(), _llama4_wrapped(), _llama4_file())
