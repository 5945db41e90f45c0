"""Seed-OSS.

Room: models. The whole network: pre-norm RMSNorm, grouped-query attention with heads as wide as the
configuration says, biases on queries, keys and values and at most on the output, half-split rotary
positions, SwiGLU. Must not know a file, a request or a lock.
Source: SeedOssForCausalLM of transformers 5.
"""

from __future__ import annotations

from freehold.models.base import Slot
from freehold.models.decoder import DecoderConfig
from freehold.models.qwen2 import Qwen2

__all__ = ["SeedOss"]


class SeedOss(Qwen2):
    """Qwen2's layers, whose attention may have a bias on its output too."""

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        slots = super().layer_slots(config, index)
        slots = {
            name: Slot(slot.shape, matrix=slot.matrix, optional=name.endswith("bias"))
            for name, slot in slots.items()
        }
        bias = Slot((config.width,), matrix=False, optional=True)
        return slots | {f"layers.{index}.attn.out_bias": bias}
