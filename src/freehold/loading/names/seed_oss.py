"""Seed-OSS: keys and tensor names.

Room: loading. Source: the gguf package's names of seed_oss; SeedOssConfig of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping

from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source, Table
from freehold.models.decoder import DecoderConfig
from freehold.models.seed_oss import SeedOss as Model

__all__ = ["GGUF", "HUB", "Model"]

# The norm before the MLP has the name that other families give to one after attention.
_GGUF = {"mlp_norm": "post_attention_norm.weight"}


def _read_gguf(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = Keys(metadata, "seed_oss")
    config = gguf_decoder.decoder_config(keys)
    keys.finish()
    return config


def _read_hub(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = hub_decoder.hub_keys(metadata, "seed_oss")
    config = hub_decoder.decoder_config(keys)
    for key in ("attention_bias", "attention_out_bias"):
        keys.truth(key, default=False)  # a bias is taken where there is one
    keys.absent_or("mlp_bias", False, "no released model has one")
    keys.ignore("residual_dropout", "of training")
    keys.finish()
    return config


def _gguf_source(canonical: str, config: DecoderConfig) -> Source:
    return gguf_decoder.decoder_source(canonical, config, _GGUF)


GGUF = Table(_read_gguf, _gguf_source)
HUB = Table(_read_hub, hub_decoder.decoder_source)
