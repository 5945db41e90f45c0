"""Qwen2 and Qwen2-MoE: keys and tensor names.

Room: loading. Source: the gguf package's names of qwen2 and qwen2moe; Qwen2Config and
Qwen2MoeConfig of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Table
from freehold.models.decoder import DecoderConfig, MoeConfig
from freehold.models.qwen2 import Qwen2 as Model

__all__ = ["GGUF", "HUB", "Model"]


def _read_gguf(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = Keys(metadata, str(metadata["general.architecture"]))
    config = gguf_decoder.decoder_config(keys)
    shared = keys.integer("expert_shared_feed_forward_length", default=0, least=0)
    keys.finish()
    if config.moe is None:
        return config
    moe = replace(config.moe, shared_width=shared, shared_opening=shared > 0)
    return replace(config, moe=moe)


def _read_hub(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = hub_decoder.hub_keys(metadata, str(metadata["model_type"]))
    config = hub_decoder.decoder_config(keys)
    config = replace(config, windows=hub_decoder.deep_windows_of(keys, config.layers))
    if keys.architecture.endswith("moe"):
        keys.truth("qkv_bias", default=True)  # a missing bias is a missing tensor
        config = replace(config, moe=_moe(keys, config.layers))
    keys.finish()
    return config


def _moe(keys: Keys, layers: int) -> MoeConfig:
    shared = keys.integer("shared_expert_intermediate_size", default=0, least=0)
    return MoeConfig(
        experts=keys.integer(keys.either("num_experts", "num_local_experts"), most=1 << 14),
        chosen=keys.integer("num_experts_per_tok", most=1 << 10),
        expert_width=keys.integer("moe_intermediate_size"),
        renormalise=keys.truth("norm_topk_prob", default=False),
        shared_width=shared,
        shared_opening=shared > 0,
        dense_layers=hub_decoder.dense_layers(keys, layers),
    )


GGUF = Table(_read_gguf, gguf_decoder.decoder_source)
HUB = Table(_read_hub, hub_decoder.decoder_source)
