"""Qwen3 dense, and the embedding and reranking models built on it.

Room: models. The whole network: pre-norm RMSNorm, grouped-query attention whose queries and keys
are normed head by head before they rotate, SwiGLU, head tied or not. Must not know a file, a
request or a lock.
Source: arXiv 2505.09388.
"""

from __future__ import annotations

from freehold.models.base import Slot
from freehold.models.decoder import Decoder, DecoderConfig

__all__ = ["Qwen3"]


class Qwen3(Decoder):
    """The plain decoder with norms of queries and keys."""

    @classmethod
    def layer_slots(cls, config: DecoderConfig, index: int) -> dict[str, Slot]:
        """The tensors of one layer."""
        at, norm = f"layers.{index}.", Slot((config.head_width,), matrix=False)
        norms = {at + "attn.q_norm": norm, at + "attn.k_norm": norm}
        return super().layer_slots(config, index) | norms
