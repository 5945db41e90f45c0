"""Llama 1 to 3.3, Mistral 7B to Large 2, SmolLM2 and what shares their architecture.

Room: models. The whole network: pre-norm RMSNorm, grouped-query attention with half-split rotary
positions, over a sliding window or not, SwiGLU, head tied or not. Must not know a file, a request
or a lock.
Source: arXiv 2302.13971, 2407.21783, 2310.06825.
"""

from __future__ import annotations

from collections.abc import Mapping

from freehold.models.base import Slot
from freehold.models.decoder import Decoder, DecoderConfig

__all__ = ["Llama"]


class Llama(Decoder):
    """The plain decoder, with biases in attention or not, and frequency divisors or not."""

    @classmethod
    def slots(cls, config: DecoderConfig) -> Mapping[str, Slot]:
        """Every tensor the family takes, by canonical name."""
        divisors = Slot((config.head_width // 2,), matrix=False, optional=True)
        return {**super().slots(config), "rope_divisors": divisors}

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        at, slots = f"layers.{index}.", super().layer_slots(config, index)
        for name in ("q", "k", "v", "out"):
            rows = slots[f"{at}attn.{name}"].shape[:1]
            slots[f"{at}attn.{name}_bias"] = Slot(rows, matrix=False, optional=True)
        return slots
