"""Toys of Gemma 4: dense with own values, with all that small models have, and with experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import Gemma4Config, Gemma4TextConfig

from freehold.models.blocks import RopeScaling
from tests.parity.family import FamilyToy, Flip
from tests.parity.toy import Array

_KINDS = ["sliding_attention", "sliding_attention", "full_attention"]
_DIMS: Mapping[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 32,
    "num_hidden_layers": 6,
    "layer_types": _KINDS * 2,
    "sliding_window": 40,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "hidden_size_per_layer_input": 0,
    "vocab_size_per_layer_input": 301,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _set(**changes: Any) -> Flip:
    return lambda config: replace(config, **changes)


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array | None:
    if name.endswith(("layer_scalar", "per_expert_scale", "router.scale")):
        return np.asarray(1 + 0.3 * rng.standard_normal(shape))
    if name.endswith("embed_tokens_per_layer.weight"):
        return np.asarray(rng.standard_normal(shape))
    return None


def _keys(config: Any) -> dict[str, Any]:
    return {
        "block_count": 6,
        "context_length": 512,
        "embedding_length": 64,
        "feed_forward_length": 96,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 32,
        "attention.value_length": 32,
        "attention.key_length_swa": 16,
        "attention.value_length_swa": 16,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.sliding_window": 40,
        "attention.sliding_window_pattern": [True, True, False] * 2,
        "attention.shared_kv_layers": config.num_kv_shared_layers,
        "embedding_length_per_layer_input": config.hidden_size_per_layer_input,
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4,
        "rope.dimension_count": 32,
        "rope.dimension_count_swa": 16,
        "vocab_size": 301,
    }


def _named(name: str, values: Array) -> dict[str, Array]:
    """What the converter names itself, and the divisors that stop pairs which do not rotate."""
    if name == "model.norm.weight":
        stopped = np.array([1.0] * 4 + [1e30] * 12, np.float32)
        return {name: values, "rope_freqs": stopped}
    if name.endswith(("layer_scalar", "experts.gate_up_proj", "experts.down_proj")):
        return {name + ".weight": values}
    return {name: values}


def _renamed(layers: int) -> dict[str, str]:
    names = {"rope_freqs": "rope_freqs.weight"}
    for i in range(layers):
        at = f"model.layers.{i}.router."
        names[at + "scale"] = f"blk.{i}.ffn_gate_inp.scale"
        names[at + "per_expert_scale"] = f"blk.{i}.ffn_down_exps.scale"
    return names


def _toy(
    name: str, flips: Mapping[str, Flip], keys: Mapping[str, Any], **changes: Any
) -> FamilyToy:
    config = Gemma4TextConfig(**{**_DIMS, **changes})
    return FamilyToy(
        name=name,
        config=config,
        arch="gemma4",
        keys={**_keys(config), **keys},
        change=_named,
        renamed=_renamed(6),
        drawn=_drawn,
        flips=flips,
    )


def _wrapped() -> FamilyToy:
    """The text part of a model for several media, here without the others."""
    text = Gemma4TextConfig(**{**_DIMS, "hidden_size_per_layer_input": 16, "pad_token_id": 0})
    config = Gemma4Config(text_config=text, vision_config=None, audio_config=None)
    return FamilyToy(
        name="gemma4, wrapped",
        config=config,
        drawn=_drawn,
        flips={"windows": _set(windows=(20, 20, 0) * 2)},
    )


TOYS = (
    _wrapped(),
    _toy(
        "gemma4, dense",
        {
            "windows": _set(windows=(20, 20, 0) * 2),
            "one rotation": _set(near_rope=(1e6, RopeScaling())),
            "rotated pairs": _set(rotated_pairs=16),
            "cap": _set(final_cap=0.0),
            "scale of embeddings": _set(embed_factor=1.0),
        },
        {"final_logit_softcapping": 5.0},
        final_logit_softcapping=5.0,
    ),
    _toy(
        "gemma4, small",
        {"scale of embeddings": _set(embed_factor=1.0), "windows": _set(windows=(20, 20, 0) * 2)},
        {"feed_forward_length": [96] * 3 + [192] * 3},
        hidden_size_per_layer_input=16,
        num_kv_shared_layers=3,
        use_double_wide_mlp=True,
    ),
    _toy(
        "gemma4, experts, values that are keys",
        {
            "fewer experts": lambda config: replace(config, moe=replace(config.moe, chosen=1)),
        },
        {
            "attention.head_count_kv": [2, 2, 1] * 2,
            "expert_count": 4,
            "expert_used_count": 2,
            "expert_feed_forward_length": 32,
        },
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=32,
    ),
)
