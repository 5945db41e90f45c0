"""Llama, Mistral and Mixtral: keys, tensor names, and the order of the query and key rows.

Room: loading. Source: the conversion facts of the GGUF format for `general.architecture` llama;
LlamaConfig, MistralConfig and MixtralConfig of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source, Table
from freehold.models.decoder import DecoderConfig, MoeConfig
from freehold.models.llama import Llama as Model

__all__ = ["GGUF", "HUB", "Model"]

# Mixtral names an expert's matrices by number: gate, down, up.
_MIXTRAL = {
    "moe.router": "block_sparse_moe.gate.weight",
    "moe.gate": "block_sparse_moe.experts.{}.w1.weight",
    "moe.up": "block_sparse_moe.experts.{}.w3.weight",
    "moe.down": "block_sparse_moe.experts.{}.w2.weight",
}


def _read_gguf(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = Keys(metadata, "llama")
    config = gguf_decoder.decoder_config(keys)
    keys.finish()
    if config.moe is None:
        return config
    return replace(config, moe=replace(config.moe, renormalise=True))


def _read_hub(metadata: Mapping[str, object]) -> DecoderConfig:
    model_type = str(metadata["model_type"])
    keys = hub_decoder.hub_keys(metadata, model_type)
    base = 1e6 if model_type == "mixtral" else 10000.0
    config = hub_decoder.decoder_config(keys, rope_base=base)
    keys.truth("attention_bias", default=False)  # a bias is taken where there is one
    keys.absent_or("mlp_bias", False, "the MLP has none")
    if model_type != "llama":
        config = replace(config, windows=hub_decoder.windows_of(keys, config.layers))
    if model_type == "mixtral":
        moe = MoeConfig(
            experts=keys.integer("num_local_experts", most=1 << 14),
            chosen=keys.integer("num_experts_per_tok", most=1 << 10),
            expert_width=config.mlp_width,
            renormalise=True,
        )
        config = replace(config, moe=moe)
    keys.finish()
    return config


def _hub_source(canonical: str, config: DecoderConfig) -> Source | None:
    return hub_decoder.decoder_source(canonical, config, _MIXTRAL)


def _unused(name: str, _config: object) -> bool:
    return name.endswith("rotary_emb.inv_freq")  # computed from the configuration


GGUF = Table(_read_gguf, gguf_decoder.rotated_source)
HUB = Table(_read_hub, _hub_source, _unused)
