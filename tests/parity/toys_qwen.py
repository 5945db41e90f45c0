"""Toys of Qwen2, Qwen2-MoE, Qwen3 and Qwen3-MoE, with every switch of each on somewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers import Qwen2Config, Qwen2MoeConfig, Qwen3Config, Qwen3MoeConfig

from tests.parity.family import FamilyToy, Flip, plain_keys

_DIMS: Mapping[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}
_EXPERTS: Mapping[str, Any] = {
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
}
_EXPERT_KEYS = {
    "expert_count": 8,
    "expert_used_count": 3,
    "expert_feed_forward_length": 32,
}


def _moe(**changes: Any) -> Flip:
    return lambda config: replace(config, moe=replace(config.moe, **changes))


def _windows(*windows: int) -> Flip:
    return lambda config: replace(config, windows=windows)


def _qwen2() -> FamilyToy:
    config = Qwen2Config(
        **_DIMS,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    config.head_dim = 16
    return FamilyToy(
        name="qwen2, tied",
        config=config,
        arch="qwen2",
        keys=plain_keys(config),
        flips={"rope base": lambda config: replace(config, rope_base=1e4)},
    )


def _qwen2_sliding() -> FamilyToy:
    config = Qwen2Config(
        **_DIMS,
        use_sliding_window=True,
        sliding_window=40,
        max_window_layers=1,
        tie_word_embeddings=False,
    )
    return FamilyToy(
        name="qwen2, sliding from layer 1",
        config=config,
        flips={"window": _windows(0, 0, 0), "which layers": _windows(40, 0, 0)},
    )


def _qwen2_moe() -> FamilyToy:
    config = Qwen2MoeConfig(
        **_DIMS,
        **_EXPERTS,
        shared_expert_intermediate_size=48,
        norm_topk_prob=False,
    )
    config.head_dim = 16
    keys = plain_keys(config) | _EXPERT_KEYS | {"expert_shared_feed_forward_length": 48}
    return FamilyToy(
        name="qwen2-moe",
        config=config,
        arch="qwen2moe",
        keys=keys,
        flips={"renormalise": _moe(renormalise=True), "fewer experts": _moe(chosen=2)},
    )


def _qwen2_moe_mixed() -> FamilyToy:
    config = Qwen2MoeConfig(
        **_DIMS,
        **_EXPERTS,
        shared_expert_intermediate_size=48,
        norm_topk_prob=True,
        decoder_sparse_step=2,
    )
    return FamilyToy(
        name="qwen2-moe, every second layer, renormalised",
        config=config,
        flips={"renormalise": _moe(renormalise=False)},
    )


def _qwen3() -> FamilyToy:
    config = Qwen3Config(**_DIMS, head_dim=32, tie_word_embeddings=True)
    return FamilyToy(
        name="qwen3, wide heads",
        config=config,
        arch="qwen3",
        keys=plain_keys(config),
        flips={"eps": lambda config: replace(config, eps=0.5)},
    )


def _qwen3_moe() -> FamilyToy:
    config = Qwen3MoeConfig(**_DIMS, **_EXPERTS, head_dim=32, norm_topk_prob=True)
    return FamilyToy(
        name="qwen3-moe",
        config=config,
        arch="qwen3moe",
        keys=plain_keys(config) | _EXPERT_KEYS,
        flips={"renormalise": _moe(renormalise=False), "scoring": _moe(scoring="sigmoid")},
    )


def _qwen3_moe_mixed() -> FamilyToy:
    config = Qwen3MoeConfig(
        **_DIMS, **_EXPERTS, head_dim=32, norm_topk_prob=False, mlp_only_layers=[1]
    )
    return FamilyToy(
        name="qwen3-moe, layer 1 dense",
        config=config,
        flips={"renormalise": _moe(renormalise=True)},
    )


TOYS = (
    _qwen2(),
    _qwen2_sliding(),
    _qwen2_moe(),
    _qwen2_moe_mixed(),
    _qwen3(),
    _qwen3_moe(),
    _qwen3_moe_mixed(),
)
