"""Gemma 3, its text part.

Room: models. The whole network: embeddings times the root of their width; RMSNorm before and after
each half; grouped-query attention whose queries and keys are normed head by head, over a sliding
window in five layers of six, which rotate on a base of their own; a gated MLP with GELU; head tied.
Must not know a file, a request or a lock.
Source: arXiv 2503.19786.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from freehold.models.base import Parameter, Slot
from freehold.models.decoder import Decoder, DecoderConfig, Feed, Mixer, attention, mlp
from freehold.ops import GATES, Gating

__all__ = ["Gemma3"]

GELU = Gating(GATES.index("gelu_tanh"))


class Gemma3(Decoder):
    """The plain decoder with norms on both sides of its halves, and GELU."""

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        at, slots = f"layers.{index}.", super().layer_slots(config, index)
        for half in ("attn", "mlp"):
            slots[f"{at}{half}_post_norm"] = slots[f"{at}{half}_norm"]
        norm = Slot((config.head_width,), matrix=False)
        return slots | {at + "attn.q_norm": norm, at + "attn.k_norm": norm}

    def layer(self, parameters: Mapping[str, Parameter], index: int) -> tuple[Mixer, Feed]:
        """The blocks of one layer."""
        feed = replace(mlp(self.config, parameters, index), gating=GELU)
        return attention(self.config, parameters, index), feed
