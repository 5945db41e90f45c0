"""SmolLM3: keys, tensor names, and which layers do not rotate.

Room: loading. Source: the conversion facts of the GGUF format for `general.architecture` smollm3,
whose files keep rotated pairs side by side; SmolLM3Config of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Table
from freehold.models.decoder import DecoderConfig
from freehold.models.smollm3 import SmolLM3 as Model

__all__ = ["GGUF", "HUB", "Model"]

_PERIOD = 4  # every fourth layer does not rotate; GGUF files do not say it


def _every(period: int, layers: int) -> frozenset[int]:
    return frozenset(range(period - 1, layers, period))


def _read_gguf(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = Keys(metadata, "smollm3")
    config = gguf_decoder.decoder_config(keys)
    keys.finish()
    return replace(config, unrotated=_every(_PERIOD, config.layers))


def _read_hub(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = hub_decoder.hub_keys(metadata, "smollm3")
    config = hub_decoder.decoder_config(keys, rope_base=2e6)
    keys.truth("attention_bias", default=False)  # a bias is taken where there is one
    keys.absent_or("mlp_bias", False, "the MLP has none")
    unrotated = _unrotated(keys, config.layers)
    kinds = ("full_attention",) * config.layers
    windows = hub_decoder.windows_of(keys, config.layers, kinds)
    if not keys.truth("use_sliding_window", default=False):
        windows = ()
    keys.finish()
    return replace(config, unrotated=unrotated, windows=windows)


def _unrotated(keys: Keys, layers: int) -> frozenset[int]:
    """Layers with a 0 in the list, or every n-th. Raises: BadConfig."""
    period = keys.integer("no_rope_layer_interval", default=_PERIOD, most=1 << 12)
    rotates = keys.integers("no_rope_layers", most=1)
    if not rotates:
        return _every(period, layers)
    if len(rotates) < layers:
        raise BadConfig(
            "no_rope_layers does not list every layer",
            family=keys.architecture,
            expected=f"{layers} layers",
            found=str(len(rotates)),
        )
    return frozenset(i for i in range(layers) if not rotates[i])


GGUF = Table(_read_gguf, gguf_decoder.rotated_source)
HUB = Table(_read_hub, hub_decoder.decoder_source, tied=True)
