"""gpt-oss.

Room: models. The whole network: pre-norm RMSNorm; grouped-query attention with biases everywhere
and a sink for each head, over a sliding window in every second layer; experts with biases and
clamped gates, weighed by a softmax over those chosen; head not tied. Must not know a file, a
request or a lock.
Source: arXiv 2508.10925; GptOssModel of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from freehold.models.base import Parameter, Slot, row
from freehold.models.decoder import Decoder, DecoderConfig, Feed, Mixer, attention, moe
from freehold.ops import GATES, Gating

__all__ = ["GptOss", "GptOssConfig"]


@dataclass(frozen=True, kw_only=True)
class GptOssConfig(DecoderConfig):
    """The plain configuration, and the slope and limit of the experts' gates."""

    slope: float = 1.702
    limit: float = 7.0


class GptOss(Decoder):
    """The plain decoder with sinks, biases, and experts whose gates are clamped."""

    config: GptOssConfig

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        at, slots = f"layers.{index}.", super().layer_slots(config, index)
        for name in ("q", "k", "v", "out"):
            rows = slots[f"{at}attn.{name}"].shape[:1]
            slots[f"{at}attn.{name}_bias"] = Slot(rows, matrix=False, optional=True)
        experts = config.sparse(index)
        assert experts is not None, "every layer has experts"
        count, inner = experts.experts, experts.expert_width
        return slots | {
            at + "attn.sinks": Slot((config.heads,), matrix=False),
            at + "moe.router_bias": Slot((count,), matrix=False),
            at + "moe.gate_bias": Slot((count, inner), matrix=False),
            at + "moe.up_bias": Slot((count, inner), matrix=False),
            at + "moe.down_bias": Slot((count, config.width), matrix=False),
        }

    def layer(self, parameters: Mapping[str, Parameter], index: int) -> tuple[Mixer, Feed]:
        """The blocks of one layer."""
        at, config = f"layers.{index}.", self.config
        names = ("moe.gate_bias", "moe.up_bias", "moe.down_bias")
        gate, up, down = (row(parameters[at + name]) for name in names)
        mixer = attention(config, parameters, index)
        feed = replace(
            moe(config, parameters, index),
            gating=Gating(GATES.index("clamped"), config.slope, config.limit),
            offsets=row(parameters[at + "moe.router_bias"]),
            biases=(gate, up, down),
        )
        return replace(mixer, sinks=row(parameters[at + "attn.sinks"])), feed
