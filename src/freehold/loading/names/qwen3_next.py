"""Qwen3-Next: keys and tensor names, and the rows that its projections keep together.

Room: loading. Source: Qwen3NextConfig of transformers 5; the gguf package's names of qwen3next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from freehold.loading.keys import Keys
from freehold.loading.names import hub_decoder
from freehold.loading.names.hybrid import (
    HUB_NAMES,
    gguf_source,
    hub_delta,
    hub_source,
    hybrid,
    may_leave_gguf,
    may_leave_hub,
    parts_of_rows,
    read_gguf,
)
from freehold.loading.sources import Source, Table
from freehold.models.decoder import MoeConfig
from freehold.models.hybrid import HybridConfig
from freehold.models.qwen3_next import Qwen3Next as Model

__all__ = ["GGUF", "HUB", "Model"]

# One matrix has each key head's queries, keys, values and z, another its b and a.
_TOGETHER = {
    "delta.qkv": "linear_attn.in_proj_qkvz.weight",
    "delta.z": "linear_attn.in_proj_qkvz.weight",
    "delta.b": "linear_attn.in_proj_ba.weight",
    "delta.a": "linear_attn.in_proj_ba.weight",
}


def _read_hub(metadata: Mapping[str, object]) -> HybridConfig:
    keys = hub_decoder.hub_keys(metadata, str(metadata["model_type"]))
    config = hub_decoder.decoder_config(keys, rotated_share=0.25)
    delta = hub_delta(keys, config.layers)
    shared = keys.integer("shared_expert_intermediate_size", default=512, least=0)
    moe = MoeConfig(
        experts=keys.integer("num_experts", default=512, most=1 << 14),
        chosen=keys.integer("num_experts_per_tok", default=10, most=1 << 10),
        expert_width=keys.integer("moe_intermediate_size", default=512),
        renormalise=keys.truth("norm_topk_prob", default=True),
        shared_width=shared,
        shared_opening=shared > 0,
        dense_layers=hub_decoder.dense_layers(keys, config.layers),
    )
    keys.finish()
    return replace(hybrid(config, delta), moe=moe)


def _hub_source(canonical: str, config: HybridConfig) -> Source | None:
    part = canonical.split(".", 2)[-1]
    if part not in _TOGETHER:
        return hub_source(canonical, config)
    name = hub_decoder.file_name(canonical, {**HUB_NAMES, **_TOGETHER})
    c = config.delta
    each = c.value_heads // c.key_heads
    if part in ("delta.a", "delta.b"):
        return _ba(name, part, config)
    values = each * c.value_width
    parts = parts_of_rows(c.key_heads, (c.key_width, c.key_width, values, values))
    order = parts[3] if part == "delta.z" else np.concatenate(parts[:3])
    return Source((name,), shape=(c.columns + c.values, config.width), order=order)


def _ba(name: str, part: str, config: HybridConfig) -> Source:
    """What opens and what fades, which lie key head by key head in one matrix."""
    c = config.delta
    each = c.value_heads // c.key_heads
    order = parts_of_rows(c.key_heads, (each, each))[0 if part == "delta.b" else 1]
    return Source((name,), shape=(2 * c.value_heads, config.width), order=order)


def _read_gguf(metadata: Mapping[str, object]) -> HybridConfig:
    return read_gguf(Keys(metadata, "qwen3next"), tiled=False)


def _gguf_source(canonical: str, config: HybridConfig) -> Source | None:
    match canonical.split("."):
        case ["layers", index, "delta", "a" | "b" as part]:
            return _ba(f"blk.{index}.ssm_ba.weight", f"delta.{part}", config)
    return gguf_source(canonical, config)


GGUF = Table(_read_gguf, _gguf_source, may_leave_gguf)
HUB = Table(_read_hub, _hub_source, may_leave_hub)
