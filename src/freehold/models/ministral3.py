"""Ministral 3, and the text part of Mistral 3 models built on it.

Room: models. The whole network: pre-norm RMSNorm, grouped-query attention with rotary positions
stretched by yarn, whose queries grow with the logarithm of the position beyond the trained context
(`late`), SwiGLU, head tied or not. Must not know a file, a request or a lock.
Source: Ministral3Model of transformers 5; arXiv 2501.19399 for queries that grow.
"""

from __future__ import annotations

from freehold.models.decoder import Decoder

__all__ = ["Ministral3"]


class Ministral3(Decoder):
    """The plain decoder; the configuration says how late queries are scaled."""
