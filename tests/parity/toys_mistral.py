"""Toys of what shares llama's tables: Mistral with and without a window, Mixtral, and llama's own
ways of stretching positions as a directory says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers import LlamaConfig, MistralConfig, MixtralConfig

from tests.parity.family import FamilyToy, plain_keys
from tests.parity.toy import Array, interleaved

_DIMS: Mapping[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_hidden_layers": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}


def _paired(name: str, values: Array) -> dict[str, Array]:
    """The converter's order of query and key rows."""
    heads = {"q_proj": 4, "k_proj": 2}
    for part, count in heads.items():
        if part in name:
            return {name: interleaved(values, count)}
    return {name: values}


def _mixtral_names(name: str, values: Array) -> dict[str, Array]:
    return _paired(name.replace("mlp.experts", "block_sparse_moe.experts"), values)


def _llama(kind: str, **rope: Any) -> FamilyToy:
    config = LlamaConfig(**_DIMS, rope_parameters={"rope_type": kind, "rope_theta": 1e4, **rope})
    scaling = {"factor": 4.0} | rope
    return FamilyToy(
        name=f"llama, {kind}",
        config=config,
        flips={
            "no scaling": lambda config: replace(config, rope_scaling=type(config.rope_scaling)()),
            "factor": lambda config: replace(
                config, rope_scaling=replace(config.rope_scaling, factor=2 * scaling["factor"])
            ),
        },
    )


def _mistral() -> FamilyToy:
    config = MistralConfig(**_DIMS, sliding_window=None)
    return FamilyToy(
        name="mistral",
        config=config,
        arch="llama",
        keys=plain_keys(config),
        change=_paired,
        flips={"window": lambda config: replace(config, windows=(64, 64))},
    )


def _mistral_sliding() -> FamilyToy:
    config = MistralConfig(**_DIMS, sliding_window=37)
    return FamilyToy(
        name="mistral, sliding",
        config=config,
        flips={
            "window": lambda config: replace(config, windows=()),
            "window by one": lambda config: replace(config, windows=(36, 36)),
        },
    )


def _mixtral() -> FamilyToy:
    config = MixtralConfig(**_DIMS, num_local_experts=4, num_experts_per_tok=2, sliding_window=None)
    keys = plain_keys(config) | {"expert_count": 4, "expert_used_count": 2}
    return FamilyToy(
        name="mixtral",
        config=config,
        arch="llama",
        keys=keys,
        change=_paired,
        flips={
            "renormalise": lambda config: replace(
                config, moe=replace(config.moe, renormalise=False)
            )
        },
    )


_TRAINED = {"original_max_position_embeddings": 128}

TOYS = (
    _mistral(),
    _mistral_sliding(),
    _mixtral(),
    _llama("linear", factor=4.0),
    _llama("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, **_TRAINED),
    _llama("yarn", factor=4.0, **_TRAINED),
)
