"""DeepSeek V2, V2-Lite, V3, V3.1 and R1, and what shares their architecture.

Room: models. The whole network: pre-norm RMSNorm, latent attention with or without a latent of the
queries, SwiGLU in the first layers and then a mixture of experts beside a shared one, head tied or
not. Layers that predict further tokens are left out. Must not know a file, a request or a lock.
Source: arXiv 2405.04434, 2412.19437.
"""

from __future__ import annotations

from freehold.models.latent import LatentDecoder

__all__ = ["DeepSeek"]


class DeepSeek(LatentDecoder):
    """The decoder of latent attention as it is."""
