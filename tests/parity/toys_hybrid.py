"""Toys of Qwen3-Next and Qwen3.5, dense and mixture, and what their converter changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import PretrainedConfig, Qwen3NextConfig
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig
from transformers.models.qwen3_5_moe.configuration_qwen3_5_moe import Qwen3_5MoeTextConfig

from tests.parity.family import FamilyToy, Flip, plain_keys
from tests.parity.toy import Array

_DIMS: Mapping[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_hidden_layers": 4,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
    "tie_word_embeddings": False,
}
_EXPERTS: Mapping[str, Any] = {
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 48,
}
_EXPERT_KEYS = {
    "expert_count": 8,
    "expert_used_count": 3,
    "expert_feed_forward_length": 32,
    "expert_shared_feed_forward_length": 48,
}
_SECTIONS = {
    "rope_type": "default",
    "rope_theta": 1e6,
    "partial_rotary_factor": 0.5,
    "mrope_section": [4, 2, 2],
    "mrope_interleaved": True,
}


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array | None:
    """Norms around zero, as they are kept; states that fade over some to some hundred tokens."""
    if name.endswith("A_log"):
        return np.asarray(rng.uniform(-5, 1, shape))
    if name.endswith("dt_bias"):
        return np.asarray(rng.standard_normal(shape))
    if name.endswith("conv1d.weight"):
        return np.asarray(rng.standard_normal(shape))
    if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
        return np.asarray(0.2 * rng.standard_normal(shape))
    return None


def _keys(config: PretrainedConfig, rotated: float) -> dict[str, Any]:
    inner = config.linear_num_value_heads * config.linear_value_head_dim
    return {
        **{key: value for key, value in plain_keys(config).items() if value is not None},
        "rope.dimension_count": int(config.head_dim * rotated),
        "full_attention_interval": 4,
        "ssm.conv_kernel": config.linear_conv_kernel_dim,
        "ssm.state_size": config.linear_key_head_dim,
        "ssm.group_count": config.linear_num_key_heads,
        "ssm.time_step_rank": config.linear_num_value_heads,
        "ssm.inner_size": inner,
    }


Change = Callable[[str, Array], dict[str, Array]]


def _changes(config: PretrainedConfig, *, tiles: bool) -> Change:
    """What the converter makes of a saved tensor."""
    heads = config.linear_num_key_heads
    each = config.linear_num_value_heads // heads
    keys = heads * config.linear_key_head_dim
    width = config.linear_value_head_dim

    def tiled(values: Array, size: int) -> Array:
        grouped = values.reshape(heads, each, size, *values.shape[1:])
        return np.ascontiguousarray(grouped.swapaxes(0, 1).reshape(values.shape))

    def ordered(name: str, values: Array) -> Array:
        part = name.rsplit("linear_attn.", 1)[-1]
        if part in ("in_proj_qkv.weight", "conv1d.weight"):
            return np.concatenate([values[: 2 * keys], tiled(values[2 * keys :], width)])
        if part == "in_proj_z.weight":
            return tiled(values, width)
        if part in ("in_proj_a.weight", "in_proj_b.weight", "A_log", "dt_bias"):
            return tiled(values, 1)
        return tiled(values.T, width).T if part == "out_proj.weight" else values

    def change(name: str, values: Array) -> dict[str, Array]:
        if "linear_attn." in name and tiles:
            values = ordered(name, values)
        if name.endswith("A_log"):
            return {name: -np.exp(values)}
        if name.endswith("dt_bias"):
            return {name.replace("dt_bias", "dt_proj.bias"): values}
        if name.endswith("conv1d.weight"):
            return {name: values.reshape(len(values), -1)}
        if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
            return {name: values + 1}
        if name.endswith("in_proj_qkvz.weight"):
            return _qkvz(name, values, (heads, keys // heads, each * width))
        if name.endswith("shared_expert_gate.weight"):
            return {name: values.reshape(-1)}
        if name.endswith("gate_up_proj"):
            gate, up = np.split(values, 2, axis=1)
            at = name.removesuffix("gate_up_proj")
            return {at + "gate_proj.weight": gate, at + "up_proj.weight": up}
        if name.endswith("experts.down_proj"):
            return {name + ".weight": values}
        return {name: values}

    return change


def _qkvz(name: str, values: Array, dims: tuple[int, int, int]) -> dict[str, Array]:
    heads, key, value = dims
    parts = values.reshape(heads, 2 * key + 2 * value, -1)
    cut = np.split(parts, np.cumsum([key, key, value]), axis=1)
    q, k, v, z = (part.reshape(-1, values.shape[-1]) for part in cut)
    at = name.removesuffix("in_proj_qkvz.weight")
    return {at + "in_proj_qkv.weight": np.concatenate([q, k, v]), at + "in_proj_z.weight": z}


def _delta(**changes: Any) -> Flip:
    return lambda config: replace(config, delta=replace(config.delta, **changes))


def _moe(**changes: Any) -> Flip:
    return lambda config: replace(config, moe=replace(config.moe, **changes))


_FLIPS: Mapping[str, Flip] = {
    "key heads in turns": _delta(tiled=True),
    "whole heads rotate": lambda config: replace(config, rotated_width=0),
    "rope base": lambda config: replace(config, rope_base=1e3),
}
_MOE_FLIPS: Mapping[str, Flip] = {"renormalise": _moe(renormalise=False)}


def _qwen3_next() -> FamilyToy:
    config = Qwen3NextConfig(**_DIMS, **_EXPERTS, intermediate_size=96, mlp_only_layers=[])
    return FamilyToy(
        name="qwen3-next",
        config=config,
        arch="qwen3next",
        keys=_keys(config, 0.25) | _EXPERT_KEYS,
        change=_changes(config, tiles=False),
        flips={**_FLIPS, **_MOE_FLIPS},
        drawn=_drawn,
    )


def _qwen3_next_mixed() -> FamilyToy:
    config = Qwen3NextConfig(
        **{**_DIMS, "tie_word_embeddings": True, "linear_num_value_heads": 2},
        **_EXPERTS,
        intermediate_size=96,
        mlp_only_layers=[1],
        norm_topk_prob=False,
        layer_types=["full_attention", "linear_attention"] * 2,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.75,
        },
    )
    return FamilyToy(
        name="qwen3-next, layers in another order, one dense, weights as they come",
        config=config,
        flips={
            "renormalise": _moe(renormalise=True),
            "a quarter rotates": lambda config: replace(config, rotated_width=8),
        },
        drawn=_drawn,
    )


def _qwen3_5() -> FamilyToy:
    config = Qwen3_5TextConfig(
        **_DIMS, intermediate_size=96, rope_parameters=_SECTIONS, linear_conv_kernel_dim=3
    )
    return FamilyToy(
        name="qwen3.5",
        config=config,
        arch="qwen35",
        keys=_keys(config, 0.5) | {"rope.dimension_sections": [4, 2, 2, 0]},
        change=_changes(config, tiles=True),
        flips=_FLIPS,
        drawn=_drawn,
    )


def _qwen3_5_moe() -> FamilyToy:
    config = Qwen3_5MoeTextConfig(**_DIMS, **_EXPERTS, rope_parameters=_SECTIONS)
    config.intermediate_size = None
    return FamilyToy(
        name="qwen3.5-moe",
        config=config,
        arch="qwen35moe",
        keys=_keys(config, 0.5) | _EXPERT_KEYS | {"rope.dimension_sections": [4, 2, 2, 0]},
        change=_changes(config, tiles=True),
        flips={**_FLIPS, **_MOE_FLIPS},
        drawn=_drawn,
    )


TOYS = (_qwen3_next(), _qwen3_next_mixed(), _qwen3_5(), _qwen3_5_moe())
