"""Which weights we own: the catalogue, the store directory, pulling, and what a name stands for.

Room: library. Decides where a model's file is; must not know how a file is read or run.
"""

from __future__ import annotations

from freehold.library.catalogue import (
    CatalogueEntry,
    PinnedFile,
    entries,
    entry_named,
    suggested_system,
)
from freehold.library.pulling import Pulled, pull
from freehold.library.references import resolve
from freehold.library.shelf import OnShelf, remove, shelf

__all__ = [
    "CatalogueEntry",
    "OnShelf",
    "PinnedFile",
    "Pulled",
    "entries",
    "entry_named",
    "pull",
    "remove",
    "resolve",
    "shelf",
    "suggested_system",
]
