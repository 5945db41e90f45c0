"""Qwen3.5 and 3.6, dense and mixtures, the text part: keys and tensor names.

Room: loading. Source: Qwen3_5TextConfig and Qwen3_5MoeTextConfig of transformers 5; the gguf
package's names of qwen35 and qwen35moe, whose heads of values are tiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.loading.keys import Keys
from freehold.loading.names import hub_decoder
from freehold.loading.names.hybrid import (
    gguf_source,
    hub_delta,
    hub_source,
    hybrid,
    may_leave_gguf,
    may_leave_hub,
    parts_of_rows,
    read_gguf,
)
from freehold.loading.sources import Source, Table
from freehold.models.decoder import MoeConfig
from freehold.models.hybrid import HybridConfig
from freehold.models.qwen3_5 import Qwen35 as Model

__all__ = ["GGUF", "HUB", "Model"]


def _read_hub(metadata: Mapping[str, object]) -> HybridConfig:
    model_type = str(metadata["model_type"])
    mixture = model_type == "qwen3_5_moe_text"
    if mixture:  # no layer has a plain MLP, whose width is left out
        width = metadata.get("intermediate_size") or metadata.get("moe_intermediate_size", 512)
        metadata = {**metadata, "intermediate_size": width}
    keys = hub_decoder.hub_keys(metadata, model_type)
    config = hub_decoder.decoder_config(keys, rotated_share=0.25)
    if mixture:
        config = replace(config, moe=_experts(keys))
    keys.absent_or("norm_topk_prob", True, "the experts' weights sum to one in this family")
    keys.absent_or("mlp_only_layers", [], "all layers are alike in this family")
    made = hybrid(config, hub_delta(keys, config.layers))
    keys.finish()
    return made


def _experts(keys: Keys) -> MoeConfig:
    shared = keys.integer("shared_expert_intermediate_size", default=512, least=0)
    return MoeConfig(
        experts=keys.integer("num_experts", default=256, most=1 << 14),
        chosen=keys.integer("num_experts_per_tok", default=8, most=1 << 10),
        expert_width=keys.integer("moe_intermediate_size", default=512),
        renormalise=True,
        shared_width=shared,
        shared_opening=shared > 0,
    )


def _hub_source(canonical: str, config: HybridConfig) -> Source | None:
    match canonical.split("."):
        case ["layers", index, "moe", "gate" | "up" | "down" as part]:
            one_by_one = hub_decoder.decoder_source(canonical, config)
            assert one_by_one is not None, "experts are in every checkpoint"
            stacked = _stacked(f"model.layers.{index}.mlp.experts.", part, config)
            return replace(one_by_one, instead=stacked)
    return hub_source(canonical, config)


def _stacked(at: str, part: str, config: HybridConfig) -> Source:
    """Experts' matrices, which checkpoints may stack, gate and up of each in one."""
    moe = config.moe
    assert moe is not None, "a plain decoder has no experts"
    if part == "down":
        return Source((at + "down_proj",), shape=(moe.experts, config.width, moe.expert_width))
    order = parts_of_rows(moe.experts, (moe.expert_width,) * 2)[0 if part == "gate" else 1]
    shape = (moe.experts, 2 * moe.expert_width, config.width)
    return Source((at + "gate_up_proj",), shape=shape, order=order)


def _read_gguf(metadata: Mapping[str, object]) -> HybridConfig:
    return read_gguf(Keys(metadata, str(metadata["general.architecture"])), tiled=True)


GGUF = Table(_read_gguf, gguf_source, may_leave_gguf)
HUB = Table(_read_hub, _hub_source, may_leave_hub)
