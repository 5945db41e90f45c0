"""OLMo 2 and OLMo 3: keys, tensor names, and where the layers' windows and rotations differ.

Room: loading. Source: the gguf package's names of olmo2, which serves both; Olmo2Config and
Olmo3Config of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source, Table
from freehold.models.blocks import RopeScaling
from freehold.models.decoder import DecoderConfig
from freehold.models.olmo2 import Olmo2 as Model

__all__ = ["GGUF", "HUB", "Model"]

_PERIOD = 4  # every fourth layer of OLMo 3 sees everything


def _read_gguf(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = Keys(metadata, "olmo2")
    config = gguf_decoder.decoder_config(keys)
    windows = gguf_decoder.windows_of(keys, config.layers, period=_PERIOD)
    base = keys.number("rope.freq_base_swa", default=config.rope_base, above=1.0)
    keys.finish()
    # Layers with a window rotate unstretched.
    return replace(config, windows=windows, near_rope=(base, RopeScaling()) if windows else None)


def _read_hub(metadata: Mapping[str, object]) -> DecoderConfig:
    third = metadata["model_type"] == "olmo3"
    said = {"sliding_window": 4096} if third else {}
    keys = hub_decoder.hub_keys(metadata, str(metadata["model_type"]), said)
    if third:
        config = hub_decoder.decoder_config(keys, rope_base=5e5, near_base=5e5)
        sliding = ("sliding_attention",) * (_PERIOD - 1)
        kinds = (*sliding, "full_attention") * (config.layers // _PERIOD + 1)
        windows = hub_decoder.windows_of(keys, config.layers, kinds[: config.layers])
        config = replace(config, windows=windows)
    else:
        config = hub_decoder.decoder_config(keys)
    keys.truth("attention_bias", default=False)  # a bias is taken where there is one
    keys.finish()
    return config


def _hub_source(canonical: str, config: DecoderConfig) -> Source | None:
    return hub_decoder.decoder_source(canonical, config, hub_decoder.SANDWICH)


GGUF = Table(_read_gguf, gguf_decoder.decoder_source)
HUB = Table(_read_hub, _hub_source)
