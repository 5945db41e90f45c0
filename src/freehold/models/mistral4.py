"""Mistral Small 4.

Room: models. The whole network: pre-norm RMSNorm, latent attention whose late queries grow with
their position, and mixtures of experts beside a shared one. Must not know a file, a request or a
lock. Source: Mistral4Config of transformers 5.
"""

from __future__ import annotations

from freehold.models.latent import LatentDecoder

__all__ = ["Mistral4"]


class Mistral4(LatentDecoder):
    """The decoder of latent attention; its configuration names the trained context and factor."""
