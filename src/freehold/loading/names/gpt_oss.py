"""gpt-oss: keys, tensor names, and the rows of its experts.

Room: loading. Source: the gguf package's names of gpt-oss, whose files keep gates and ups apart;
GptOssConfig of transformers 5, whose rows alternate: gate, up, gate, up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source, Table
from freehold.models.decoder import MoeConfig, widen
from freehold.models.gpt_oss import GptOss as Model
from freehold.models.gpt_oss import GptOssConfig

__all__ = ["GGUF", "HUB", "Model"]

_PERIOD = 2  # every second layer sees everything
_BASE = 150000.0
_GGUF = {
    "mlp_norm": "post_attention_norm.weight",
    "attn.sinks": "attn_sinks.weight",
    "moe.router_bias": "ffn_gate_inp.bias",
    "moe.gate_bias": "ffn_gate_exps.bias",
    "moe.up_bias": "ffn_up_exps.bias",
    "moe.down_bias": "ffn_down_exps.bias",
}
_HUB = {
    "attn.sinks": "self_attn.sinks",
    "moe.router": "mlp.router.weight",
    "moe.router_bias": "mlp.router.bias",
    "moe.gate": "mlp.experts.gate_up_proj",
    "moe.up": "mlp.experts.gate_up_proj",
    "moe.down": "mlp.experts.down_proj",
    "moe.gate_bias": "mlp.experts.gate_up_proj_bias",
    "moe.up_bias": "mlp.experts.gate_up_proj_bias",
    "moe.down_bias": "mlp.experts.down_proj_bias",
}


def _read_gguf(metadata: Mapping[str, object]) -> GptOssConfig:
    keys = Keys(metadata, "gpt-oss")
    config = gguf_decoder.decoder_config(keys)
    windows = gguf_decoder.windows_of(keys, config.layers, period=_PERIOD)
    keys.absent_or("expert_gating_func", 3, "a softmax over the chosen experts")
    keys.finish()
    if config.moe is None:
        raise BadConfig("the file names no experts", family="gpt-oss", expected="expert_count")
    # Files do not say it: yarn's ramp begins and ends between whole dimensions.
    changes = {
        "windows": windows,
        "rope_scaling": replace(config.rope_scaling, truncate=False),
        "moe": replace(config.moe, renormalise=True),
    }
    return widen(GptOssConfig, config, changes)


def _read_hub(metadata: Mapping[str, object]) -> GptOssConfig:
    keys = hub_decoder.hub_keys(metadata, "gpt_oss", {"head_dim": 64, "sliding_window": 128})
    config = hub_decoder.decoder_config(keys, rope_base=_BASE)
    kinds = ("sliding_attention", "full_attention") * config.layers
    keys.truth("attention_bias", default=True)  # a bias is taken where there is one
    keys.ignore("initial_context_length", "the rotation's keys say it")
    keys.ignore("experts_per_token", "another name of num_experts_per_tok")
    experts = MoeConfig(
        experts=keys.integer(keys.either("num_local_experts", "num_experts"), most=1 << 14),
        chosen=keys.integer("num_experts_per_tok", most=1 << 10),
        expert_width=config.mlp_width,
        renormalise=True,
    )
    changes = {
        "windows": hub_decoder.windows_of(keys, config.layers, kinds[: config.layers]),
        "moe": experts,
        "slope": keys.number("swiglu_alpha", default=1.702),
        "limit": keys.number("swiglu_limit", default=7.0),
    }
    keys.finish()
    return widen(GptOssConfig, config, changes)


def _gguf_source(canonical: str, config: GptOssConfig) -> Source:
    return gguf_decoder.decoder_source(canonical, config, _GGUF)


def _hub_source(canonical: str, config: GptOssConfig) -> Source | None:
    part, experts = canonical.rpartition(".moe.")[2], config.moe
    source = hub_decoder.decoder_source(canonical, config, _HUB)
    if source is None or experts is None:
        return source
    count, inner = experts.experts, experts.expert_width
    halves = np.arange(2 * count * inner, dtype=np.int64).reshape(-1, 2)
    order = {"gate": halves[:, 0], "up": halves[:, 1]}.get(part.removesuffix("_bias"))
    match part:
        case "gate" | "up":
            return replace(
                source, shape=(count, 2 * inner, config.width), order=order, transposed=True
            )
        case "down":
            return replace(source, shape=(count, config.width, inner), transposed=True)
        case "gate_bias" | "up_bias":
            return replace(source, shape=(count, 2 * inner), order=order)
    return source


GGUF = Table(_read_gguf, _gguf_source)
HUB = Table(_read_hub, _hub_source)
