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
from freehold.library.held import held_models, held_named, remove_held
from freehold.library.held_record import Held
from freehold.library.hub_pull import HubPulled, pull_from_hub
from freehold.library.names import HubReference, is_hub_reference
from freehold.library.pulling import Pulled, pull
from freehold.library.references import resolve
from freehold.library.shelf import OnShelf, remove, shelf

__all__ = [
    "CatalogueEntry",
    "Held",
    "HubPulled",
    "HubReference",
    "OnShelf",
    "PinnedFile",
    "Pulled",
    "entries",
    "entry_named",
    "held_models",
    "held_named",
    "is_hub_reference",
    "pull",
    "pull_from_hub",
    "remove",
    "remove_held",
    "resolve",
    "shelf",
    "suggested_system",
]
