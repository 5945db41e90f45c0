"""Llama 4, its text part: keys, tensor names, the order of rotated rows, the rows of its experts.

Room: loading. Source: the conversion facts of the GGUF format for `general.architecture` llama4;
Llama4TextConfig of transformers 5. Both formats keep the two elements of a rotated pair side by
side; directories keep experts input first, gates before ups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source, Table
from freehold.models.blocks import Late
from freehold.models.decoder import MoeConfig, widen
from freehold.models.llama4 import Llama4 as Model
from freehold.models.llama4 import Llama4Config

__all__ = ["GGUF", "HUB", "Model"]

_PERIOD = 4  # every fourth layer knows no positions
_CHUNK = 8192
_PLAIN_HEADS = 128  # experts of the model whose heads are not normed; GGUF files do not say it
_LATE = Late(8192, 0.1, 1)
_HUB = {
    "mlp.gate": "feed_forward.gate_proj.weight",
    "mlp.up": "feed_forward.up_proj.weight",
    "mlp.down": "feed_forward.down_proj.weight",
    "moe.router": "feed_forward.router.weight",
    "moe.gate": "feed_forward.experts.gate_up_proj",
    "moe.up": "feed_forward.experts.gate_up_proj",
    "moe.down": "feed_forward.experts.down_proj",
    "shared.gate": "feed_forward.shared_expert.gate_proj.weight",
    "shared.up": "feed_forward.shared_expert.up_proj.weight",
    "shared.down": "feed_forward.shared_expert.down_proj.weight",
}


def _every(period: int, layers: int) -> frozenset[int]:
    return frozenset(range(period - 1, layers, period))


def _read_gguf(metadata: Mapping[str, object]) -> Llama4Config:
    keys = Keys(metadata, "llama4")
    config = gguf_decoder.decoder_config(keys)
    step = keys.integer("interleave_moe_layer_step", most=1 << 12)
    for key, neutral in (("attention.sliding_window", _CHUNK), ("expert_gating_func", 2)):
        keys.absent_or(key, neutral, "what every file of the family means")
    keys.absent_or("leading_dense_block_count", 0, "experts begin where their step says")
    keys.absent_or("expert_shared_count", 1, "one expert is shared")
    keys.finish()
    if config.moe is None:
        raise BadConfig("the file names no experts", family="llama4", expected="expert_count")
    experts = replace(
        config.moe,
        scoring="sigmoid",
        shared_width=config.moe.expert_width,
        dense_layers=frozenset(range(config.layers)) - _every(step, config.layers),
    )
    unrotated = _every(_PERIOD, config.layers)
    changes = {
        "moe": experts,
        "unrotated": unrotated,
        "chunked": frozenset(range(config.layers)) - unrotated,
        "late": _LATE,
        "unit_heads": experts.experts != _PLAIN_HEADS,
    }
    return widen(Llama4Config, config, changes)


def _read_hub(metadata: Mapping[str, object]) -> Llama4Config:
    # The plain MLP's width has a name of its own; the usual one is an expert's.
    keys = hub_decoder.hub_keys(metadata, "llama4_text", {"head_dim": 128})
    config = hub_decoder.decoder_config(keys, rope_base=5e5)
    period = keys.integer("no_rope_layer_interval", default=_PERIOD, most=1 << 12)
    rotates = keys.integers("no_rope_layers", most=1)
    unrotated = _every(period, config.layers)
    if rotates:
        unrotated = frozenset(i for i in range(config.layers) if not rotates[i])
    keys.absent_or("attention_bias", False, "attention has no biases")
    keys.ignore("for_llm_compressor", "how another library would run it")
    changes = {
        "mlp_width": keys.integer("intermediate_size_mlp", default=config.mlp_width),
        "moe": _experts(keys, config.layers, config.mlp_width),
        "unrotated": unrotated,
        "late": _late(keys),
        "chunk": keys.integer("attention_chunk_size", default=_CHUNK, most=1 << 30),
        "chunked": _chunked(keys, config.layers, unrotated),
        "unit_heads": keys.truth("use_qk_norm", default=True),
    }
    keys.finish()
    return widen(Llama4Config, config, changes)


def _experts(keys: Keys, layers: int, width: int) -> MoeConfig:
    step = keys.integer("interleave_moe_layer_step", default=1, most=1 << 12)
    listed = keys.integers("moe_layers", most=layers - 1)
    sparse = frozenset(listed) if keys.has("moe_layers") else _every(step, layers)
    return MoeConfig(
        experts=keys.integer("num_local_experts", most=1 << 14),
        chosen=keys.integer("num_experts_per_tok", default=1, most=1 << 10),
        expert_width=width,
        scoring="sigmoid",
        shared_width=width,
        dense_layers=frozenset(range(layers)) - sparse,
    )


def _late(keys: Keys) -> Late | None:
    """How queries of unrotated layers grow; released files say yes as true or as a number."""
    trained = keys.integer("floor_scale", default=_LATE.trained_tokens, most=1 << 30)
    factor = keys.number("attn_scale", default=_LATE.factor)
    grow = keys.switch("attn_temperature_tuning", default=True)
    return Late(trained, factor, _LATE.ahead) if grow else None


def _chunked(keys: Keys, layers: int, unrotated: frozenset[int]) -> frozenset[int]:
    kinds = keys.words("layer_types", allowed=("chunked_attention", "full_attention"))
    if not kinds:
        return frozenset(range(layers)) - unrotated
    return frozenset(i for i, kind in enumerate(kinds[:layers]) if kind == "chunked_attention")


def _gguf_source(canonical: str, config: Llama4Config) -> Source:
    return gguf_decoder.rotated_source(canonical, config)


def _hub_source(canonical: str, config: Llama4Config) -> Source | None:
    source = hub_decoder.decoder_source(canonical, config, _HUB)
    part, experts = canonical.rpartition(".")[2], config.moe
    if source is None or experts is None:
        return source
    if canonical.endswith(("attn.q", "attn.k")):
        heads = config.heads if part == "q" else config.kv_heads
        return replace(source, order=gguf_decoder.half_split(heads, config.head_width))
    if ".moe." not in canonical or part == "router":
        return source
    count, inner = experts.experts, experts.expert_width
    if part == "down":
        return replace(source, shape=(count, config.width, inner), transposed=True)
    halves = np.arange(2 * count * inner, dtype=np.int64).reshape(count, 2, inner)
    order = np.ascontiguousarray(halves[:, int(part == "up")]).reshape(-1)
    return replace(source, shape=(count, 2 * inner, config.width), order=order, transposed=True)


GGUF = Table(_read_gguf, _gguf_source)
HUB = Table(_read_hub, _hub_source)
