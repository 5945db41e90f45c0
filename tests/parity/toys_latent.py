"""Toys of DeepSeek V2 and V3, GLM-4 MoE Lite and Mistral 4, with every switch of each on somewhere.

The norms of the layers have a large epsilon, so that one that latents borrowed would show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers import (
    DeepseekV2Config,
    DeepseekV3Config,
    Glm4MoeLiteConfig,
    Mistral4Config,
    Mistral4ForCausalLM,
    PretrainedConfig,
)

from tests.parity.family import FamilyToy, Flip
from tests.parity.toy import Array

_DIMS: Mapping[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "max_position_embeddings": 512,
    "rms_norm_eps": 0.05,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 24,
    "qk_rope_head_dim": 16,
    "v_head_dim": 48,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "tie_word_embeddings": False,
}
_GROUPS: Mapping[str, Any] = {"n_group": 4, "topk_group": 2}


def _yarn(own: float = 0.707, all_dims: float = 0.707) -> dict[str, Any]:
    return {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": own,
        "mscale_all_dim": all_dims,
    }


def _keys(config: PretrainedConfig, **more: Any) -> dict[str, Any]:
    """GGUF's keys of a file whose keys and values are apart."""
    c = config
    rope: dict[str, Any] = c.rope_parameters
    keys = {
        "block_count": c.num_hidden_layers,
        "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size,
        "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads,
        "attention.head_count_kv": 1,
        "attention.key_length": c.kv_lora_rank + c.qk_rope_head_dim,
        "attention.value_length": c.kv_lora_rank,
        "attention.key_length_mla": c.qk_nope_head_dim + c.qk_rope_head_dim,
        "attention.value_length_mla": c.v_head_dim,
        "attention.kv_lora_rank": c.kv_lora_rank,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps,
        "rope.freq_base": rope["rope_theta"],
        "rope.dimension_count": c.qk_rope_head_dim,
        "vocab_size": c.vocab_size,
        "leading_dense_block_count": 1,
        "expert_count": 8,
        "expert_used_count": 3,
        "expert_feed_forward_length": 32,
        "expert_shared_count": c.n_shared_experts,
        "expert_weights_scale": c.routed_scaling_factor,
    }
    if rope["rope_type"] == "yarn":
        keys |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": rope["factor"],
            "rope.scaling.original_context_length": 64,
            "rope.scaling.yarn_log_multiplier": 0.1 * rope["mscale_all_dim"],
        }
    if c.q_lora_rank is not None:
        keys["attention.q_lora_rank"] = c.q_lora_rank
    return keys | more


def _apart(name: str, values: Array) -> dict[str, Array]:
    """Keys and values apart, the keys turned; the bias under its own name."""
    if name.endswith("kv_b_proj.weight"):
        heads = values.reshape(4, 24 + 48, 32)
        at = name.removesuffix("kv_b_proj.weight")
        return {
            at + "k_b_proj.weight": heads[:, :24].swapaxes(1, 2),
            at + "v_b_proj.weight": heads[:, 24:],
        }
    return _together(name, values)


def _together(name: str, values: Array) -> dict[str, Array]:
    return {name.replace("e_score_correction_bias", "e_score_correction.bias"): values}


def _merged(name: str, values: Array) -> dict[str, Array]:
    """Experts as they are saved, gates with ups."""
    if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return {name + ".weight": values}
    return _apart(name, values)


def _moe(**changes: Any) -> Flip:
    return lambda config: replace(config, moe=replace(config.moe, **changes))


def _set(**changes: Any) -> Flip:
    return lambda config: replace(config, **changes)


def _rotation(**changes: Any) -> Flip:
    return lambda config: replace(config, rope_scaling=replace(config.rope_scaling, **changes))


_LATENT_FLIPS: Mapping[str, Flip] = {
    "interleave": _set(interleaved=False),
    "eps of latents": _set(latent_eps=0.05),
    "magnitude": lambda config: replace(config, scale=40**-0.5),
}


def _v2_lite() -> FamilyToy:
    config = DeepseekV2Config(
        **_DIMS, q_lora_rank=None, n_shared_experts=2, rope_parameters=_yarn()
    )
    return FamilyToy(
        name="deepseek-v2, no latent of queries",
        config=config,
        arch="deepseek2",
        keys=_keys(config),
        change=_apart,
        flips={
            **_LATENT_FLIPS,
            "renormalise": _moe(renormalise=True),
            "shared expert": _narrow_shared(),
            "stretch": _rotation(kind="none"),
        },
    )


def _narrow_shared() -> Flip:
    """Instead of leaving the shared expert out, which loading refuses: its weights count twice."""
    return _moe(scale=0.5)


def _v2_groups() -> FamilyToy:
    config = DeepseekV2Config(
        **_DIMS,
        **_GROUPS,
        q_lora_rank=40,
        n_shared_experts=1,
        topk_method="group_limited_greedy",
        routed_scaling_factor=1.7,
        rope_parameters=_yarn(1.0, 0.5),
    )
    return FamilyToy(
        name="deepseek-v2, groups by their best",
        config=config,
        flips={
            **_LATENT_FLIPS,
            "groups": _moe(groups=1, groups_kept=1),
            "which groups": _moe(group_top=2),
            "scale": _moe(scale=1.0),
            "magnitude of the rotation": _rotation(attention_factor=1.0),
        },
    )


def _v3() -> FamilyToy:
    config = DeepseekV3Config(
        **_DIMS, **_GROUPS, q_lora_rank=40, n_shared_experts=1, rope_parameters=_yarn()
    )
    more = {
        "expert_gating_func": 2,
        "expert_weights_norm": True,
        "expert_group_count": 4,
        "expert_group_used_count": 2,
    }
    old = {  # written before keys and values were kept apart
        "attention.head_count_kv": 4,
        "attention.key_length": 40,
        "attention.value_length": 48,
    }
    keys = _keys(config, **more, **old)
    del keys["attention.key_length_mla"], keys["attention.value_length_mla"]
    return FamilyToy(
        name="deepseek-v3, keys and values together",
        config=config,
        arch="deepseek2",
        keys=keys,
        change=_together,
        flips={
            **_LATENT_FLIPS,
            "groups": _moe(groups=1, groups_kept=1),
            "which groups": _moe(group_top=1),
            "renormalise": _moe(renormalise=False),
            "scale": _moe(scale=1.0),
            "scoring": _moe(scoring="softmax"),
        },
    )


def _v3_halves() -> FamilyToy:
    config = DeepseekV3Config(
        **_DIMS,
        n_group=1,
        topk_group=1,
        q_lora_rank=40,
        n_shared_experts=2,
        norm_topk_prob=False,
        rope_interleave=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    return FamilyToy(
        name="deepseek-v3, halves, not renormalised",
        config=config,
        flips={"interleave": _set(interleaved=True), "renormalise": _moe(renormalise=True)},
    )


def _glm_lite() -> FamilyToy:
    dims = {key: value for key, value in _DIMS.items() if key != "first_k_dense_replace"}
    config = Glm4MoeLiteConfig(
        **dims,
        **_GROUPS,
        q_lora_rank=40,
        n_shared_experts=1,
        mlp_layer_types=["sparse", "dense", "sparse"],
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    return FamilyToy(
        name="glm4-moe-lite, a dense layer between",
        config=config,
        flips={"scale": _moe(scale=1.0), "eps of latents": _set(latent_eps=0.05)},
    )


def _glm_lite_file() -> FamilyToy:
    """As its maker's checkpoints lie in GGUF: under another family's architecture."""
    dims = {key: value for key, value in _DIMS.items() if key != "first_k_dense_replace"}
    config = Glm4MoeLiteConfig(
        **dims,
        n_group=1,
        topk_group=1,
        q_lora_rank=40,
        n_shared_experts=1,
        routed_scaling_factor=1.8,
        norm_topk_prob=True,
        mlp_layer_types=["dense", "sparse", "sparse"],
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    more = {
        "expert_gating_func": 2,
        "expert_weights_norm": True,
        "expert_group_count": 1,
        "expert_group_used_count": 1,
    }
    return FamilyToy(
        name="glm4-moe-lite",
        config=config,
        arch="deepseek2",
        keys=_keys(config, **more),
        change=_apart,
        flips={
            "interleave": _set(interleaved=False),
            "eps of latents": _set(latent_eps=0.05),
            "renormalise": _moe(renormalise=False),
            "scale": _moe(scale=1.0),
            "scoring": _moe(scoring="softmax"),
        },
    )


def _mistral4() -> FamilyToy:
    rope = _yarn(1.0, 1.0) | {"llama_4_scaling_beta": 0.3, "partial_rotary_factor": 0.4}
    config = Mistral4Config(
        **_DIMS, q_lora_rank=40, n_shared_experts=1, rope_parameters=rope, pad_token_id=None
    )
    more = {"expert_weights_norm": True, "attention.temperature_scale": 0.3}
    return FamilyToy(
        name="mistral4",
        config=config,
        arch="mistral4",
        keys=_keys(config, **more),
        change=_merged,
        model=Mistral4ForCausalLM,
        flips={
            **_LATENT_FLIPS,
            "late queries": _set(late=None),
            "renormalise": _moe(renormalise=False),
        },
    )


TOYS = (_v2_lite(), _v2_groups(), _v3(), _v3_halves(), _glm_lite(), _glm_lite_file(), _mistral4())
