"""GLM-4.5 and its successors with experts: keys and tensor names.

Room: loading. Source: the gguf package's names of glm4moe; Glm4MoeConfig of transformers 5. A layer
after the last, which guesses one token further, is left unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source, Table, is_past
from freehold.models.decoder import DecoderConfig
from freehold.models.glm4_moe import Glm4Moe as Model

__all__ = ["GGUF", "HUB", "Model"]

_GGUF = {"mlp_norm": "post_attention_norm.weight"}
_HUB = {
    "shared.gate": "mlp.shared_experts.gate_proj.weight",
    "shared.up": "mlp.shared_experts.up_proj.weight",
    "shared.down": "mlp.shared_experts.down_proj.weight",
}


def _read_gguf(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = Keys(metadata, "glm4moe")
    config = gguf_decoder.decoder_config(keys, partial=True)
    ahead = keys.integer("nextn_predict_layers", default=0, least=0, most=config.layers - 1)
    if config.moe is None:
        raise BadConfig("the file names no experts", family="glm4moe", expected="expert_count")
    moe = gguf_decoder.scored_experts(keys, config.moe)
    keys.finish()
    return replace(config, moe=moe, layers=config.layers - ahead)


def _read_hub(metadata: Mapping[str, object]) -> DecoderConfig:
    keys = hub_decoder.hub_keys(metadata, "glm4_moe")
    config = hub_decoder.decoder_config(keys, rotated_share=0.5)
    keys.truth("attention_bias", default=False)  # a bias is taken where there is one
    keys.truth("use_qk_norm", default=False)  # likewise a norm
    for key in ("num_nextn_predict_layers", "num_mtp_layers"):
        keys.ignore(key, "layers that guess further tokens are left unread")
    config = replace(config, moe=hub_decoder.scored_experts(keys))
    keys.finish()
    return config


def _gguf_source(canonical: str, config: DecoderConfig) -> Source:
    return gguf_decoder.decoder_source(canonical, config, _GGUF)


def _hub_source(canonical: str, config: DecoderConfig) -> Source | None:
    return hub_decoder.decoder_source(canonical, config, _HUB)


def _unused(name: str, config: DecoderConfig) -> bool:
    return is_past(name, config.layers)


GGUF = Table(_read_gguf, _gguf_source, _unused)
HUB = Table(_read_hub, _hub_source, _unused)
