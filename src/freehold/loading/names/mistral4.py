"""Mistral Small 4: keys and tensor names.

Room: loading. Source: the conversion facts of the GGUF format for `general.architecture` mistral4;
Mistral4Config of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.loading.keys import Keys
from freehold.loading.names import hub_decoder, latent_decoder
from freehold.loading.sources import Table
from freehold.models.latent import LatentConfig
from freehold.models.mistral4 import Mistral4 as Model

__all__ = ["GGUF", "HUB", "Model"]


def _read_gguf(metadata: Mapping[str, object]) -> LatentConfig:
    keys = Keys(metadata, "mistral4")
    config = latent_decoder.gguf_config(keys)
    keys.finish()
    assert config.moe is not None, "a mixture was read"
    return replace(config, moe=replace(config.moe, group_top=2))


def _read_hub(metadata: Mapping[str, object]) -> LatentConfig:
    keys = hub_decoder.hub_keys(metadata, "mistral4")
    config = latent_decoder.hub_config(keys, late=True)
    first = keys.integer("first_k_dense_replace", default=0, least=0, most=config.layers)
    moe = replace(
        latent_decoder.hub_moe(keys),
        renormalise=keys.truth("norm_topk_prob", default=True),
        groups=keys.integer("n_group", default=1, most=1 << 10),
        groups_kept=keys.integer("topk_group", default=1, most=1 << 10),
        group_top=2,
        dense_layers=frozenset(range(first)),
    )
    keys.finish()
    return replace(config, moe=moe)


GGUF = Table(_read_gguf, latent_decoder.gguf_source, latent_decoder.may_leave)
HUB = Table(_read_hub, latent_decoder.hub_source, latent_decoder.may_leave)
