"""Ministral 3: keys, tensor names, yarn's magnitude, and how late queries are scaled.

Room: loading. Source: the conversion facts of the GGUF format for `general.architecture` mistral3,
whose files keep rotated pairs side by side; Ministral3Config of transformers 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Table
from freehold.models.blocks import Late, RopeScaling
from freehold.models.decoder import DecoderConfig
from freehold.models.ministral3 import Ministral3 as Model

__all__ = ["GGUF", "HUB", "Model"]

_BETA = "llama_4_scaling_beta"


def _read_gguf(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = Keys(metadata, "mistral3")
    config = gguf_decoder.decoder_config(keys)
    times = keys.number("rope.scaling.yarn_log_multiplier", default=0.0, above=-1.0)
    beta = keys.number("attention.temperature_scale", default=0.0, above=-1.0)
    keys.finish()
    config = replace(config, rope_scaling=_levelled(config.rope_scaling, times))
    return _with_late(config, beta)


def _levelled(scaling: RopeScaling, times: float) -> RopeScaling:
    """What files say of yarn's magnitude: the usual one over that of `times`; 0 says nothing."""
    if times == 0.0 or scaling.attention_factor is None:
        return scaling
    over = 0.1 * times * math.log(scaling.factor) + 1.0
    return replace(scaling, attention_factor=scaling.attention_factor / over)


def _read_hub(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = hub_decoder.hub_keys(metadata, "ministral3")
    config = hub_decoder.decoder_config(keys, rope_base=1e6, rope_also=(_BETA,))
    beta = hub_decoder.rope_section(keys).number(_BETA, default=0.0, above=-1.0)
    windows = hub_decoder.windows_of(keys, config.layers)
    keys.finish()
    return _with_late(replace(config, windows=windows), beta)


def _with_late(config: DecoderConfig, beta: float) -> DecoderConfig:
    trained = config.rope_scaling.original_context
    if beta == 0.0:
        return config
    if trained == 0:
        raise BadConfig(
            "queries are scaled beyond a trained context that the file does not say",
            family="ministral3",
            expected="yarn with original_max_position_embeddings",
            found=config.rope_scaling.kind,
        )
    return replace(config, late=Late(trained, beta))


GGUF = Table(_read_gguf, gguf_decoder.rotated_source)
HUB = Table(_read_hub, hub_decoder.decoder_source)
