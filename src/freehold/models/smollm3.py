"""SmolLM3.

Room: models. The whole network: pre-norm RMSNorm, grouped-query attention in which most layers
rotate and some, `unrotated`, know no positions, SwiGLU, head tied. Must not know a file, a request
or a lock.
Source: SmolLM3Model of transformers 5; arXiv 2501.18795 for layers without positions.
"""

from __future__ import annotations

from freehold.models.llama import Llama

__all__ = ["SmolLM3"]


class SmolLM3(Llama):
    """The plain decoder; the configuration says which layers do not rotate."""
