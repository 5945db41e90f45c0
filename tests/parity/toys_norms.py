"""Toys of families with norms after their halves: OLMo 2 and 3, Gemma 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import Gemma3Config, Gemma3TextConfig, Olmo2Config, Olmo3Config

from freehold.models.blocks import RopeScaling
from tests.parity.family import FamilyToy, Flip, plain_keys
from tests.parity.toy import Array

_DIMS: Mapping[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}


def _set(**changes: Any) -> Flip:
    return lambda config: replace(config, **changes)


def _keys(config: Any, head_width: int) -> dict[str, Any]:
    flat = {"rope_theta": 1e4}
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    keys = {"head_dim": head_width, "rope_parameters": flat | rope}
    return plain_keys(_With(config, keys))


class _With:
    """A configuration, some of whose values are said in another way."""

    def __init__(self, config: Any, said: dict[str, Any]) -> None:
        self._config, self._said = config, said

    def __getattr__(self, name: str) -> Any:
        return self._said[name] if name in self._said else getattr(self._config, name)


def _olmo2() -> FamilyToy:
    config = Olmo2Config(**_DIMS, num_hidden_layers=2)
    return FamilyToy(
        name="olmo2",
        config=config,
        arch="olmo2",
        keys=_keys(config, 16),
        flips={"eps": _set(eps=0.5), "window": _set(windows=(40, 40))},
    )


def _olmo3() -> FamilyToy:
    rope = {
        "full_attention": _YARN,
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    config = Olmo3Config(**_DIMS, num_hidden_layers=4, sliding_window=40, rope_parameters=rope)
    keys = _keys(config, 16) | {
        "attention.sliding_window": 40,
        "attention.sliding_window_pattern": [True, True, True, False],
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 128,
    }
    return FamilyToy(
        name="olmo3",
        config=config,
        arch="olmo2",
        keys=keys,
        flips={
            "windows": _set(windows=()),
            "one rotation": _set(near_rope=None),
            "plain rotation": _set(rope_scaling=RopeScaling()),
        },
    )


_GEMMA: Mapping[str, Any] = {
    **_DIMS,
    "head_dim": 32,
    "num_hidden_layers": 6,
    "sliding_window": 40,
    "query_pre_attn_scalar": 24,
}


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array | None:
    """Norms are kept less one, and what comes after a half must not drown the stream."""
    if "norm" in name.rsplit(".", 2)[-2]:
        return np.asarray(0.2 * rng.standard_normal(shape))
    return None


def _whole_norms(name: str, values: Array) -> dict[str, Array]:
    return {name: values + 1 if name.endswith("norm.weight") else values}


def _gemma3() -> FamilyToy:
    rope = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    config = Gemma3TextConfig(**_GEMMA, rope_parameters=rope, final_logit_softcapping=5.0)
    keys = _keys(config, 32) | {
        "attention.sliding_window": 40,
        "rope.scaling.type": "linear",
        "rope.scaling.factor": 8.0,
        "attention.scale": 24**-0.5,
        "final_logit_softcapping": 5.0,
    }
    return FamilyToy(
        name="gemma3",
        config=config,
        arch="gemma3",
        keys=keys,
        change=_whole_norms,
        drawn=_drawn,
        flips={
            "windows": _set(windows=(40,) * 6),
            "one rotation": _set(near_rope=None),
            "factor": _set(rope_scaling=RopeScaling()),
            "cap": _set(final_cap=0.0),
            "scale of scores": _set(scale=None),
            "scale of embeddings": _set(embed_factor=1.0),
        },
    )


def _gemma3_wrapped() -> FamilyToy:
    text = dict(_GEMMA) | {"layer_types": ["full_attention"] * 6}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=Gemma3TextConfig(**text), vision_config=vision)
    return FamilyToy(
        name="gemma3 with vision, all layers full",
        config=config,
        drawn=_drawn,
        flips={"windows": _set(windows=(40,) * 6)},
    )


TOYS = (_olmo2(), _olmo3(), _gemma3(), _gemma3_wrapped())
