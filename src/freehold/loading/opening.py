"""A path -> a decoder, whatever form it has.

Room: loading. Must not know any family.
"""

from __future__ import annotations

from pathlib import Path

from freehold.loading.directory import load_directory
from freehold.loading.gguf import Loaded, load_gguf

__all__ = ["load_model"]


def load_model(path: Path) -> Loaded:
    """The decoder of a GGUF file or of a directory. Raises: as `load_gguf` and `load_directory`."""
    return load_directory(path) if path.is_dir() else load_gguf(path)
