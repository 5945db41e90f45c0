"""Qwen3-Next: three gated delta nets to one gated attention, experts in each layer.

Room: models. The whole network: pre-norm RMSNorm; delta nets whose key heads are each shared by a
run of value heads; attention with normed heads of which a quarter rotates, half-split, and a
sigmoid gate on what it finds; a mixture of experts and a shared one with a gate. Must not know a
file, a request or a lock.
Source: arXiv 2412.06464; Qwen3NextForCausalLM of transformers 5.
"""

from __future__ import annotations

from freehold.models.hybrid import HybridDecoder

__all__ = ["Qwen3Next"]


class Qwen3Next(HybridDecoder):
    """The hybrid decoder with a mixture of experts."""
