"""OLMo 2 and OLMo 3.

Room: models. The whole network: no norm before attention or MLP but one after each; grouped-query
attention whose queries and keys are normed across all heads before they rotate, over a sliding
window in three layers of four (OLMo 3) or none; SwiGLU, head not tied. Must not know a file, a
request or a lock.
Source: arXiv 2501.00656, 2512.13961.
"""

from __future__ import annotations

from freehold.models.base import Slot
from freehold.models.decoder import Decoder, DecoderConfig

__all__ = ["Olmo2"]


class Olmo2(Decoder):
    """The plain decoder with norms after its halves in place of before them."""

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        at, slots = f"layers.{index}.", super().layer_slots(config, index)
        for half in ("attn", "mlp"):
            slots[f"{at}{half}_post_norm"] = slots.pop(f"{at}{half}_norm")
        for name in ("q", "k"):
            rows = slots[f"{at}attn.{name}"].shape[:1]
            slots[f"{at}attn.{name}_norm"] = Slot(rows, matrix=False)
        for name in ("q", "k", "v", "out"):
            rows = slots[f"{at}attn.{name}"].shape[:1]
            slots[f"{at}attn.{name}_bias"] = Slot(rows, matrix=False, optional=True)
        return slots
