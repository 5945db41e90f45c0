"""Qwen2, Qwen2.5 and the distillations that share their architecture.

Room: models. The whole network: pre-norm RMSNorm, grouped-query attention with biases on queries,
keys and values and half-split rotary positions, SwiGLU, head tied or not. Must not know a file, a
request or a lock.
Source: arXiv 2407.10671, 2412.15115.
"""

from __future__ import annotations

from freehold.models.base import Slot
from freehold.models.decoder import Decoder, DecoderConfig

__all__ = ["Qwen2"]


class Qwen2(Decoder):
    """The plain decoder with biases on queries, keys and values."""

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        at, slots = f"layers.{index}.", super().layer_slots(config, index)
        for name in ("q", "k", "v"):
            rows = slots[f"{at}attn.{name}"].shape[:1]
            slots[f"{at}attn.{name}_bias"] = Slot(rows, matrix=False)
        return slots
