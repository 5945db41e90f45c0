"""Qwen3.5 and 3.6, dense and mixtures of experts; the text part.

Room: models. The whole network: that of Qwen3-Next with a plain gated MLP, or with experts whose
weights always sum to one. Positions have three sections for pictures, which are one and the same
for text: the rotation is the plain one. Must not know a file, a request or a lock.
Source: Qwen3_5ForCausalLM and Qwen3_5MoeForCausalLM of transformers 5.
"""

from __future__ import annotations

from freehold.models.hybrid import HybridDecoder

__all__ = ["Qwen35"]


class Qwen35(HybridDecoder):
    """The hybrid decoder, dense or with a mixture of experts."""
