"""Gemma 3, its text part: keys, tensor names, and norms, which directories keep less one.

Room: loading. Source: the gguf package's names of gemma3, whose files hold whole norms;
Gemma3TextConfig of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source, Table
from freehold.models.blocks import RopeScaling
from freehold.models.decoder import DecoderConfig
from freehold.models.gemma3 import Gemma3 as Model

__all__ = ["GGUF", "HUB", "Model"]

_PERIOD = 6  # every sixth layer sees everything
_NEAR_BASE = 1e4
_LARGEST_LAYERS = 62  # the 27B, whose scores alone are scaled by the width a head would have
_DEFAULTS = {
    "vocab_size": 262208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "sliding_window": 4096,
}


def _read_gguf(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = Keys(metadata, "gemma3")
    config = gguf_decoder.decoder_config(keys)
    windows = gguf_decoder.windows_of(keys, config.layers, period=_PERIOD)
    base = keys.number("rope.freq_base_swa", default=_NEAR_BASE, above=1.0)
    cap = keys.number("final_logit_softcapping", default=0.0, above=-1.0)
    keys.absent_or("attn_logit_softcapping", None, "scores are not capped in this family")
    scalar = config.width / config.heads if config.layers == _LARGEST_LAYERS else config.head_width
    scale = keys.number("attention.scale", default=float(scalar) ** -0.5)
    keys.finish()
    near = (base, RopeScaling()) if windows else None
    return _finished(replace(config, windows=windows, near_rope=near, scale=scale, final_cap=cap))


def _read_hub(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = hub_decoder.hub_keys(metadata, "gemma3_text", _DEFAULTS)
    config = hub_decoder.decoder_config(
        keys, rope_base=1e6, near_base=_NEAR_BASE, gate="gelu_pytorch_tanh"
    )
    pattern = keys.either("sliding_window_pattern", "_sliding_window_pattern")
    period = keys.integer(pattern, default=_PERIOD, most=1 << 12)
    kinds = tuple(
        "sliding_attention" if (i + 1) % period else "full_attention" for i in range(config.layers)
    )
    windows = hub_decoder.windows_of(keys, config.layers, kinds)
    scale = keys.number("query_pre_attn_scalar", default=256.0) ** -0.5
    cap = keys.number("final_logit_softcapping", default=0.0, above=-1.0)
    keys.absent_or("attn_logit_softcapping", None, "scores are not capped in this family")
    keys.absent_or("use_bidirectional_attention", False, "tokens see those before them")
    keys.absent_or("attention_bias", False, "attention has no biases")
    keys.ignore("cache_implementation", "the engine decides")
    keys.finish()
    return _finished(replace(config, windows=windows, scale=scale, final_cap=cap))


def _finished(config: DecoderConfig) -> DecoderConfig:
    return replace(config, embed_factor=config.width**0.5)


def _hub_source(canonical: str, config: DecoderConfig) -> Source | None:
    source = hub_decoder.decoder_source(canonical, config, hub_decoder.SANDWICH)
    if source is None or not canonical.endswith("norm"):
        return source
    return replace(source, add=1.0)


GGUF = Table(_read_gguf, gguf_decoder.decoder_source)
HUB = Table(_read_hub, _hub_source, tied=True)
