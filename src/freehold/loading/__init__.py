"""From a file to a model: names, shapes, transforms, and a strict account of every tensor.

Room: loading. Knows how weights are read; must not know requests, or whether they may be used.
"""

from __future__ import annotations

from freehold.loading.gguf import Loaded, load_gguf

__all__ = ["Loaded", "load_gguf"]
