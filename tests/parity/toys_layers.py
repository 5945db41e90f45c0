"""Toys of families whose layers differ in how they see positions: SmolLM3, Ministral, Ministral 3,
and GLM-4.5, of which half a head rotates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers import (
    Glm4MoeConfig,
    Ministral3Config,
    MinistralConfig,
    SeedOssConfig,
    SmolLM3Config,
)

from freehold.models.blocks import Late
from tests.parity.family import FamilyToy, Flip, plain_keys
from tests.parity.toy import Array, interleaved

_DIMS: Mapping[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 64,
    "intermediate_size": 96,
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


def _paired(name: str, values: Array) -> dict[str, Array]:
    """The converter's order of query and key rows."""
    for part, count in {"q_proj": 4, "k_proj": 2}.items():
        if part in name:
            return {name: interleaved(values, count)}
    return {name: values}


def _set(**changes: Any) -> Flip:
    return lambda config: replace(config, **changes)


def _moe(**changes: Any) -> Flip:
    return lambda config: replace(config, moe=replace(config.moe, **changes))


def _smollm3() -> FamilyToy:
    config = SmolLM3Config(**_DIMS)
    return FamilyToy(
        name="smollm3",
        config=config,
        arch="smollm3",
        keys=plain_keys(config),
        change=_paired,
        flips={
            "all layers rotate": _set(unrotated=frozenset()),
            "another layer": _set(unrotated=frozenset({2})),
            "base": _set(rope_base=1e4),
        },
    )


def _smollm3_sliding() -> FamilyToy:
    config = SmolLM3Config(
        **_DIMS,
        no_rope_layers=[1, 0, 1, 0],
        use_sliding_window=True,
        sliding_window=40,
        tie_word_embeddings=False,
    )
    return FamilyToy(
        name="smollm3, sliding where it does not rotate",
        config=config,
        flips={
            "which layers": _set(unrotated=frozenset({3})),
            "windows": _set(windows=()),
            "other windows": _set(windows=(40, 0, 40, 0)),
        },
    )


def _ministral() -> FamilyToy:
    kinds = ["full_attention", "sliding_attention"] * 2
    config = MinistralConfig(**_DIMS, layer_types=kinds, sliding_window=33)
    return FamilyToy(
        name="ministral",
        config=config,
        flips={"windows": _set(windows=()), "all slide": _set(windows=(33,) * 4)},
    )


def _ministral3() -> FamilyToy:
    rope = {
        "rope_type": "yarn",
        "rope_theta": 1e5,
        "factor": 8.0,
        "original_max_position_embeddings": 32,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 0.5,
        "llama_4_scaling_beta": 0.2,
    }
    config = Ministral3Config(**_DIMS, rope_parameters=rope)
    keys = plain_keys(config) | {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 8.0,
        "rope.scaling.original_context_length": 32,
        "rope.scaling.yarn_beta_fast": 32.0,
        "rope.scaling.yarn_beta_slow": 1.0,
        "rope.scaling.yarn_log_multiplier": 0.5,
        "attention.temperature_scale": 0.2,
    }
    return FamilyToy(
        name="ministral3",
        config=config,
        arch="mistral3",
        keys=keys,
        change=_paired,
        flips={
            "late queries": _set(late=None),
            "from where they are late": _set(late=Late(64, 0.2)),
            "magnitude": lambda config: replace(
                config, rope_scaling=replace(config.rope_scaling, attention_factor=None)
            ),
        },
    )


_GLM: Mapping[str, Any] = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "n_shared_experts": 2,
    "routed_scaling_factor": 1.5,
    "first_k_dense_replace": 1,
}


def _glm_names(name: str, values: Array) -> dict[str, Array]:
    """The last layer of the file guesses one token further; here it is a copy of the one before."""
    name = name.replace("e_score_correction_bias", "e_score_correction.bias")
    found = {name: values}
    if name.startswith("model.layers.3."):
        found[name.replace("layers.3.", "layers.4.")] = values
    if name == "model.norm.weight":
        found["model.layers.4.enorm.weight"] = values
    return found


def _glm4_moe() -> FamilyToy:
    config = Glm4MoeConfig(
        **_DIMS,
        **_GLM,
        attention_bias=True,
        use_qk_norm=True,
        n_group=4,
        topk_group=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    )
    keys = plain_keys(config) | {
        "block_count": 5,
        "rope.dimension_count": 8,
        "expert_count": 8,
        "expert_used_count": 3,
        "expert_feed_forward_length": 32,
        "expert_shared_count": 2,
        "expert_group_count": 4,
        "expert_group_used_count": 2,
        "leading_dense_block_count": 1,
        "expert_gating_func": 2,
        "expert_weights_scale": 1.5,
        "expert_weights_norm": True,
        "nextn_predict_layers": 1,
    }
    return FamilyToy(
        name="glm4-moe",
        config=config,
        arch="glm4moe",
        keys=keys,
        change=_glm_names,
        flips={
            "rotated share": _set(rotated_width=0),
            "scoring": _moe(scoring="softmax"),
            "renormalise": _moe(renormalise=False),
            "scale": _moe(scale=1.0),
            "groups": _moe(groups=1, groups_kept=1),
        },
    )


def _glm4_moe_plain() -> FamilyToy:
    config = Glm4MoeConfig(
        **{**_DIMS, **_GLM, "first_k_dense_replace": 2},
        norm_topk_prob=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
    )
    return FamilyToy(
        name="glm4-moe, without biases, norms and groups",
        config=config,
        flips={"renormalise": _moe(renormalise=True)},
    )


def _seed_oss() -> FamilyToy:
    """As released, and heads wider than the model over them; the file's norm has another name."""
    config = SeedOssConfig(**{**_DIMS, "head_dim": 32}, attention_bias=True)
    return FamilyToy(
        name="seed-oss",
        config=config,
        arch="seed_oss",
        keys=plain_keys(config),
        flips={"base": _set(rope_base=1e3), "scale": _set(scale=0.25)},
    )


def _seed_oss_biases() -> FamilyToy:
    config = SeedOssConfig(**_DIMS, attention_bias=False, attention_out_bias=True)
    return FamilyToy(name="seed-oss, a bias on the output alone", config=config)


TOYS = (
    _seed_oss(),
    _seed_oss_biases(),
    _smollm3(),
    _smollm3_sliding(),
    _ministral(),
    _ministral3(),
    _glm4_moe(),
    _glm4_moe_plain(),
)
