"""DeepSeek V2 and V3 and their kin: keys and tensor names.

Room: loading. Source: the conversion facts of the GGUF format for `general.architecture` deepseek2;
DeepseekV2Config, DeepseekV3Config and Glm4MoeLiteConfig of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.names import hub_decoder, latent_decoder
from freehold.loading.sources import Table
from freehold.models.decoder import MoeConfig
from freehold.models.deepseek import DeepSeek as Model
from freehold.models.latent import LatentConfig

__all__ = ["GGUF", "HUB", "Model"]

# GLM-4.7-Flash, with and without its layer that predicts a further token.
_LITE_LAYERS, _LITE_TOKENS = (47, 48), 154880


def _read_gguf(metadata: Mapping[str, object]) -> LatentConfig:
    keys = Keys(_with_gating(metadata), "deepseek2")
    config = latent_decoder.gguf_config(keys)
    keys.finish()
    return config


def _with_gating(metadata: Mapping[str, object]) -> Mapping[str, object]:
    """The keys, with the rule of choosing experts that the first files of GLM-4.7-Flash left out.

    Other files without it are of the second version, whose rule is the default.
    """
    key = "deepseek2.expert_gating_func"
    tokens = metadata.get("tokenizer.ggml.tokens")
    size = len(tokens) if isinstance(tokens, tuple | list) else 0
    if key in metadata or size != _LITE_TOKENS:
        return metadata
    return (
        {**metadata, key: 2} if metadata.get("deepseek2.block_count") in _LITE_LAYERS else metadata
    )


def _read_hub(metadata: Mapping[str, object]) -> LatentConfig:
    model_type = str(metadata["model_type"])
    keys = hub_decoder.hub_keys(metadata, model_type)
    config = latent_decoder.hub_config(keys)
    keys.absent_or("mlp_bias", False, "the MLP has none")
    keys.absent_or("moe_layer_freq", 1, "every later layer is a mixture")
    moe = _softmax(keys) if model_type == "deepseek_v2" else _sigmoid(keys)
    config = replace(config, moe=replace(moe, dense_layers=_dense_layers(keys, config.layers)))
    keys.finish()
    return config


def _softmax(keys: Keys) -> MoeConfig:
    """The second version's rule: groups by their best expert, weights as they are."""
    keys.absent_or("norm_topk_prob", False, "the reference never renormalises here")
    keys.word("scoring_func", default="softmax", allowed=("softmax",))
    method = keys.word("topk_method", default="greedy", allowed=("greedy", "group_limited_greedy"))
    groups = keys.integer("n_group", default=1, most=1 << 10)
    kept = keys.integer("topk_group", default=1, most=1 << 10)
    limited = method != "greedy"
    return replace(
        latent_decoder.hub_moe(keys),
        groups=groups if limited else 1,
        groups_kept=kept if limited else 1,
    )


def _sigmoid(keys: Keys) -> MoeConfig:
    """The third version's rule: a bias of the choice alone, groups by their two best experts."""
    keys.word("scoring_func", default="sigmoid", allowed=("sigmoid",))
    keys.word("topk_method", default="noaux_tc", allowed=("noaux_tc",))
    return replace(
        latent_decoder.hub_moe(keys),
        scoring="sigmoid",
        renormalise=keys.truth("norm_topk_prob", default=True),
        groups=keys.integer("n_group", most=1 << 10),
        groups_kept=keys.integer("topk_group", most=1 << 10),
        group_top=2,
        selection_bias=True,
    )


def _dense_layers(keys: Keys, layers: int) -> frozenset[int]:
    kinds = keys.words("mlp_layer_types", allowed=("dense", "sparse"))
    first = keys.integer("first_k_dense_replace", default=0, least=0, most=4096)
    if not kinds:
        return frozenset(range(min(first, layers)))
    if len(kinds) != layers:
        raise BadConfig(
            "mlp_layer_types does not list every layer",
            family=keys.architecture,
            expected=f"{layers} layers",
            found=str(len(kinds)),
        )
    return frozenset(i for i, kind in enumerate(kinds) if kind == "dense")


GGUF = Table(_read_gguf, latent_decoder.gguf_source, latent_decoder.may_leave)
HUB = Table(_read_hub, latent_decoder.hub_source, latent_decoder.may_leave)
