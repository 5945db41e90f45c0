"""What a GGUF file says of a decoder that was saved as a directory: keys and tensors' places.

Room: loading. The inverse of the families' GGUF tables. Whatever is said is read again by the
family's own table, and refused unless it means what the directory means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadConfig
from freehold.loading.directory import OpenDirectory
from freehold.loading.sources import Source, Table
from freehold.models.blocks import RopeScaling, rope
from freehold.models.decoder import DecoderConfig

__all__ = ["architecture_of", "decoder_keys", "places_of", "rope_divisors"]

# model_type of a directory -> general.architecture, where the one can be said in the other's words
_ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "ministral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen2_moe": "qwen2moe",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
}


def architecture_of(opened: OpenDirectory) -> str:
    """The name in GGUF. Raises: BadConfig for a family whose directories are not written yet."""
    found = _ARCHITECTURES.get(opened.model_type)
    if found is None:
        raise BadConfig(
            "directories of this family cannot be written as GGUF yet",
            family=opened.model_type,
            expected=" or ".join(_ARCHITECTURES),
            found=opened.model_type,
            hint="start from a BF16 or F16 GGUF file of the model",
        )
    return found


def decoder_keys(opened: OpenDirectory, architecture: str) -> dict[str, int | float | str]:
    """The architecture's keys, without their prefix. Raises: BadConfig."""
    c: DecoderConfig = opened.plan.config
    said: dict[str, int | float | str] = {
        "block_count": c.layers,
        "context_length": c.context_tokens,
        "embedding_length": c.width,
        "feed_forward_length": c.mlp_width,
        "attention.head_count": c.heads,
        "attention.head_count_kv": c.kv_heads,
        "attention.key_length": c.head_width,
        "attention.value_length": c.head_width,
        "attention.layer_norm_rms_epsilon": float(c.eps),
        "rope.dimension_count": c.head_width,
        "rope.freq_base": float(c.rope_base),
        "vocab_size": c.vocabulary,
    }
    said |= _scaling_keys(c.rope_scaling)
    if c.moe is not None:
        said |= {
            "expert_count": c.moe.experts,
            "expert_used_count": c.moe.chosen,
            "expert_feed_forward_length": c.moe.expert_width,
        }
        if c.moe.shared_width:
            said["expert_shared_feed_forward_length"] = c.moe.shared_width
    _check(opened, architecture, said)
    return said


def rope_divisors(config: DecoderConfig) -> NDArray[np.float32] | None:
    """The divisors of rotary frequencies that GGUF has as a tensor; None where it has none."""
    if config.rope_scaling.kind != "banded":
        return None
    width = config.rotated_width or config.head_width
    plain = rope(width, config.rope_base, RopeScaling()).frequencies
    stretched = rope(width, config.rope_base, config.rope_scaling).frequencies
    return np.asarray(plain / stretched, np.float32)


def places_of(opened: OpenDirectory) -> dict[str, Source]:
    """Where each slot that the directory fills lies in GGUF, by canonical name."""
    table: Table = opened.family.GGUF
    return table.sources(opened.plan.found, opened.plan.config)


def _scaling_keys(scaling: RopeScaling) -> dict[str, int | float | str]:
    if scaling.kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": float(scaling.factor)}
    if scaling.kind != "yarn":
        return {}
    said: dict[str, int | float | str] = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": float(scaling.factor),
        "rope.scaling.original_context_length": scaling.original_context,
    }
    if scaling.beta_fast != 32.0:
        said["rope.scaling.yarn_beta_fast"] = float(scaling.beta_fast)
    if scaling.beta_slow != 1.0:
        said["rope.scaling.yarn_beta_slow"] = float(scaling.beta_slow)
    return said


def _check(opened: OpenDirectory, architecture: str, said: Mapping[str, Any]) -> None:
    """Raises: BadConfig unless the keys, read again, give the directory's own configuration."""
    table: Table = opened.family.GGUF
    metadata = {f"{architecture}.{key}": value for key, value in said.items()}
    # Only its length is looked at.
    tokens = ("",) * opened.plan.config.vocabulary
    again = table.read_config(
        metadata | {"general.architecture": architecture, "tokenizer.ggml.tokens": tokens}
    )
    wanted: DecoderConfig = opened.plan.config
    if wanted.rope_scaling.kind == "banded":  # which is a tensor in GGUF
        wanted = replace(wanted, rope_scaling=RopeScaling())
    if again == wanted:
        return
    differs = [key for key in vars(wanted) if getattr(again, key) != getattr(wanted, key)]
    raise BadConfig(
        "this configuration cannot be said in GGUF's words",
        family=opened.model_type,
        expected=", ".join(f"{key} {getattr(wanted, key)!r}" for key in differs)[:200],
        found=", ".join(f"{getattr(again, key)!r}" for key in differs)[:200],
        hint="start from a GGUF file of the model",
    )
