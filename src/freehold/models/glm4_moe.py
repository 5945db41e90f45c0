"""GLM-4.5, 4.6 and 4.7: mixtures of experts.

Room: models. The whole network: pre-norm RMSNorm, grouped-query attention with biases on queries,
keys and values, norms of heads or not, half of each head rotating; SwiGLU in the first layers, then
experts chosen by sigmoid scores with a bias, beside a shared one. Must not know a file, a request
or a lock.
Source: arXiv 2508.06471; Glm4MoeModel of transformers 5.
"""

from __future__ import annotations

from freehold.models.base import Slot
from freehold.models.decoder import Decoder, DecoderConfig

__all__ = ["Glm4Moe"]


class Glm4Moe(Decoder):
    """The plain decoder with biases and norms in attention, as far as the checkpoint has them."""

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        at, slots = f"layers.{index}.attn.", super().layer_slots(config, index)
        norm = Slot((config.head_width,), matrix=False, optional=True)
        slots |= {at + "q_norm": norm, at + "k_norm": norm}
        for name in ("q", "k", "v"):
            rows = slots[at + name].shape[:1]
            slots[f"{at}{name}_bias"] = Slot(rows, matrix=False, optional=True)
        return slots
