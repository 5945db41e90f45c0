"""Gemma 4, its text part: keys, tensor names, and how layers of the two kinds differ.

Room: loading. Source: the gguf package's names of gemma4; Gemma4TextConfig of transformers 5. Keys
of GGUF files without a suffix are those of layers that see everything; `_swa` marks the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source, Table
from freehold.models.blocks import RopeScaling
from freehold.models.decoder import DecoderConfig, MoeConfig, widen
from freehold.models.gemma4 import Gemma4 as Model
from freehold.models.gemma4 import Gemma4Config

__all__ = ["GGUF", "HUB", "Model"]

_PERIOD = 6  # every sixth layer sees everything
_NEAR_BASE, _FULL_BASE = 1e4, 1e6
_GGUF_TOP = {
    "full_divisors": "rope_freqs.weight",
    "own.embed": "per_layer_token_embd.weight",
    "own.context": "per_layer_model_proj.weight",
    "own.norm": "per_layer_proj_norm.weight",
}
_GGUF = {
    "factor": "layer_output_scale.weight",
    "own.gate": "inp_gate.weight",
    "own.out": "proj.weight",
    "own.norm": "post_norm.weight",
    "moe.norm": "pre_ffw_norm_2.weight",
    "moe.mlp_post_norm": "post_ffw_norm_1.weight",
    "moe.post_norm": "post_ffw_norm_2.weight",
    "moe.router_norm": "ffn_gate_inp.scale",
    "moe.factors": "ffn_down_exps.scale",
    "moe.gate": "ffn_gate_up_exps.weight",
    "moe.up": "ffn_gate_up_exps.weight",
}
_HUB_TOP = {
    "own.embed": "model.embed_tokens_per_layer.weight",
    "own.context": "model.per_layer_model_projection.weight",
    "own.norm": "model.per_layer_projection_norm.weight",
}
_HUB = hub_decoder.SANDWICH | {
    "factor": "layer_scalar",
    "own.gate": "per_layer_input_gate.weight",
    "own.out": "per_layer_projection.weight",
    "own.norm": "post_per_layer_input_norm.weight",
    "moe.norm": "pre_feedforward_layernorm_2.weight",
    "moe.mlp_post_norm": "post_feedforward_layernorm_1.weight",
    "moe.post_norm": "post_feedforward_layernorm_2.weight",
    "moe.router": "router.proj.weight",
    "moe.router_norm": "router.scale",
    "moe.factors": "router.per_expert_scale",
    "moe.gate": "experts.gate_up_proj",
    "moe.up": "experts.gate_up_proj",
    "moe.down": "experts.down_proj",
}
_DEFAULTS = {
    "vocab_size": 262144,
    "max_position_embeddings": 131072,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "sliding_window": 512,
}
# What a borrower's layer may hold although it looks at another's keys.
_BORROWED = re.compile(
    r"(?:model\.layers|blk)\.(\d+)\.(?:self_attn\.[kv]_(?:proj|norm)|attn_[kv](?:_norm)?)\.weight"
)


def _read_gguf(metadata: Mapping[str, object]) -> Gemma4Config:
    keys = Keys(metadata, "gemma4")
    layers = keys.integer("block_count", most=4096)
    windows = gguf_decoder.windows_of(keys, layers, period=_PERIOD)
    said, full_heads = _as_near(metadata, windows)
    near = Keys(said, "gemma4", keys.asked)
    config = gguf_decoder.decoder_config(near)
    full_width = keys.integer("attention.key_length", least=2, most=4096)
    for name in ("attention.value_length", "rope.dimension_count"):
        keys.absent_or(name, full_width, "all of a head")
    for name in ("attention.key_length_swa", "attention.value_length_swa"):
        keys.absent_or(name, config.head_width, "all of a head")
    keys.absent_or("rope.dimension_count_swa", config.head_width, "all of a head")
    base = keys.number("rope.freq_base_swa", default=_NEAR_BASE, above=1.0)
    inner = keys.integers_or_one("feed_forward_length", layers)
    borrowers = keys.integer("attention.shared_kv_layers", default=0, least=0, most=layers - 1)
    changes: dict[str, object] = {
        "windows": windows,
        "near_rope": (base, RopeScaling()),
        "full_head_width": full_width,
        "full_kv_heads": full_heads,
        "rotated_pairs": full_width // 2,  # the file's divisors stop those that do not
        "borrowers": borrowers,
        "wide_borrowers": inner[-1] == 2 * inner[0],
        "own_width": keys.integer("embedding_length_per_layer_input", default=0, least=0),
        "own_vocabulary": config.vocabulary,
        "final_cap": keys.number("final_logit_softcapping", default=0.0, above=-1.0),
        "values_are_keys": True,  # where the file has no values
    }
    keys.finish()
    if config.moe is not None:
        changes["moe"] = replace(config.moe, renormalise=True)
    return _finished(config, changes)


def _as_near(
    metadata: Mapping[str, object], windows: Sequence[int]
) -> tuple[Mapping[str, object], int]:
    """Keys as a plain decoder of layers with a window says them; KV heads of the other layers."""
    keys = Keys(metadata, "gemma4")
    heads = keys.integers_or_one("attention.head_count_kv", len(windows))
    inner = keys.integers_or_one("feed_forward_length", len(windows))
    width = keys.integer("attention.key_length_swa", least=2, most=4096)
    near = [count for count, window in zip(heads, windows, strict=True) if window]
    full = [count for count, window in zip(heads, windows, strict=True) if not window]
    if len(set(near)) != 1 or len(set(full)) != 1:
        raise BadConfig(
            "layers of one kind have KV heads of their own",
            family="gemma4",
            expected="one number for each kind of layers, and layers of both",
            found=str(heads)[:80],
        )
    said = {
        "attention.head_count_kv": near[0],
        "attention.key_length": width,
        "attention.value_length": width,
        "rope.dimension_count": width,
        "feed_forward_length": inner[0],
    }
    return {**metadata, **{f"gemma4.{name}": value for name, value in said.items()}}, full[0]


def _read_hub(metadata: Mapping[str, object]) -> Gemma4Config:
    keys = hub_decoder.hub_keys(metadata, "gemma4_text", _DEFAULTS)
    config = hub_decoder.decoder_config(
        keys,
        rope_base=_FULL_BASE,
        near_base=_NEAR_BASE,
        rotated_share=0.25,
        gate="gelu_pytorch_tanh",
    )
    layers = config.layers
    kinds = ("sliding_attention",) * (_PERIOD - 1) + ("full_attention",)
    kinds = (*(kinds * layers)[: layers - 1], "full_attention")
    windows = hub_decoder.windows_of(keys, layers, kinds)
    share = (config.rotated_width or config.head_width) / config.head_width
    equal = keys.truth("attention_k_eq_v", default=False)
    width, heads = _full_heads(keys, windows, config.kv_heads, equal=equal)
    keys.absent_or("attention_bias", False, "attention has no biases")
    keys.word("use_bidirectional_attention", default="vision", allowed=("vision",))  # not of text
    changes: dict[str, object] = {
        "windows": windows,
        "rotated_width": 0,
        "full_head_width": width,
        "full_kv_heads": heads,
        "rotated_pairs": int(share * width // 2),
        "values_are_keys": equal,
        "borrowers": keys.integer("num_kv_shared_layers", default=0, least=0, most=layers - 1),
        "wide_borrowers": keys.truth("use_double_wide_mlp", default=False),
        "own_width": keys.integer("hidden_size_per_layer_input", default=256, least=0),
        "own_vocabulary": keys.integer("vocab_size_per_layer_input", default=config.vocabulary),
        "final_cap": keys.number("final_logit_softcapping", default=0.0, above=-1.0),
        "moe": _experts(keys),
    }
    keys.finish()
    return _finished(config, changes)


def _full_heads(
    keys: Keys, windows: Sequence[int], kv_heads: int, *, equal: bool
) -> tuple[int, int]:
    """Width and KV heads of layers that see everything, from either form of the configuration."""
    width = keys.integer("global_head_dim", default=512, least=2, most=4096)
    said = keys.integer("num_global_key_value_heads", default=kv_heads, most=1 << 12)
    heads = said if equal else kv_heads
    listed = keys.section("per_layer_config")
    found = {(width, heads)} if not listed.metadata else set()
    for i, window in enumerate(windows):
        if listed.has(str(i)) and window == 0:
            one = listed.section(str(i))
            own_width = one.integer("head_dim", default=width, least=2, most=4096)
            own_heads = one.integer("num_key_value_heads", default=heads, most=1 << 12)
            found.add((own_width, own_heads))
            one.finish()
    listed.finish()
    if len(found) != 1:
        raise BadConfig(
            "layers that see everything differ from one another",
            family="gemma4_text",
            expected="one width and number of heads",
            found=str(sorted(found))[:80],
        )
    return found.pop()


def _experts(keys: Keys) -> MoeConfig | None:
    count = keys.integer("num_experts", default=0, least=0, most=1 << 14)
    chosen = keys.integer("top_k_experts", default=0, least=0, most=1 << 10)
    width = keys.integer("moe_intermediate_size", default=0, least=0)
    if not keys.truth("enable_moe_block", default=False):
        return None
    return MoeConfig(experts=count, chosen=chosen, expert_width=width, renormalise=True)


def _finished(config: DecoderConfig, changes: Mapping[str, object]) -> Gemma4Config:
    return widen(Gemma4Config, config, {"embed_factor": config.width**0.5, **changes})


def _gguf_source(canonical: str, config: Gemma4Config) -> Source:
    if canonical in _GGUF_TOP:
        return Source((_GGUF_TOP[canonical],))
    source = gguf_decoder.decoder_source(canonical, config, _GGUF)
    return _halved(canonical, config, source)


def _hub_source(canonical: str, config: Gemma4Config) -> Source | None:
    if canonical == "full_divisors":
        return None  # computed from the configuration
    if canonical in _HUB_TOP:
        return Source((_HUB_TOP[canonical],))
    source = hub_decoder.decoder_source(canonical, config, _HUB)
    assert source is not None, "every slot of a layer lies in the checkpoint"
    if canonical.endswith("moe.down") and config.moe is not None:
        moe = config.moe
        return replace(source, shape=(moe.experts, config.width, moe.expert_width))
    return _halved(canonical, config, source)


def _halved(canonical: str, config: Gemma4Config, source: Source) -> Source:
    """Experts' gates lie before their ups, in one tensor."""
    moe, part = config.moe, canonical.rpartition(".moe.")[2]
    if moe is None or part not in ("gate", "up"):
        return source
    halves = np.arange(2 * moe.experts * moe.expert_width).reshape(moe.experts, 2, -1)
    order = np.ascontiguousarray(halves[:, int(part == "up")]).reshape(-1)
    return replace(source, shape=(moe.experts, 2 * moe.expert_width, config.width), order=order)


def _unused(name: str, config: Gemma4Config) -> bool:
    match = _BORROWED.fullmatch(name)
    return match is not None and config.keeper(int(match[1])) != int(match[1])


GGUF = Table(_read_gguf, _gguf_source, _unused)
HUB = Table(_read_hub, _hub_source, _unused, tied=True)
