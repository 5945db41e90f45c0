"""Qwen3 and Qwen3-MoE: keys and tensor names.

Room: loading. Source: the gguf package's names of qwen3 and qwen3moe; Qwen3Config and
Qwen3MoeConfig of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Table
from freehold.models.decoder import DecoderConfig, MoeConfig
from freehold.models.qwen3 import Qwen3 as Model

__all__ = ["GGUF", "HUB", "Model"]


def _read_gguf(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = Keys(metadata, str(metadata["general.architecture"]))
    config = gguf_decoder.decoder_config(keys)
    keys.finish()
    if config.moe is None:
        return config
    # Files do not say it: every released model renormalises.
    return replace(config, moe=replace(config.moe, renormalise=True))


def _read_hub(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = hub_decoder.hub_keys(metadata, str(metadata["model_type"]))
    config = hub_decoder.decoder_config(keys)
    keys.absent_or("attention_bias", False, "the norms of heads take its place")
    config = replace(config, windows=hub_decoder.deep_windows_of(keys, config.layers))
    if keys.architecture.endswith("moe"):
        moe = MoeConfig(
            experts=keys.integer(keys.either("num_experts", "num_local_experts"), most=1 << 14),
            chosen=keys.integer("num_experts_per_tok", most=1 << 10),
            expert_width=keys.integer("moe_intermediate_size"),
            renormalise=keys.truth("norm_topk_prob", default=False),
            dense_layers=hub_decoder.dense_layers(keys, config.layers),
        )
        config = replace(config, moe=moe)
    keys.finish()
    return config


GGUF = Table(_read_gguf, gguf_decoder.decoder_source)
HUB = Table(_read_hub, hub_decoder.decoder_source)
