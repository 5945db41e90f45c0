"""What the record says of a model that was pulled from a hub or imported.

Room: library. Knows held models and the record; must not know how a file came.
"""

from __future__ import annotations

from freehold.config import Settings
from freehold.library.held_record import Held
from freehold.library.identity import identity_of
from freehold.library.progress import Progress
from freehold.library.record import (
    Source,
    Terms,
    Weights,
    open_record,
    record_imported,
    record_obtained,
)

__all__ = ["write_down"]


def write_down(
    held: Held, *, settings: Settings, progress: Progress, source: Source | None = None
) -> None:
    """Record where a published model came from: its origin, or `source` that brought it here.

    Raises: StoreUnusable, DigestMismatch, OSError.
    """
    origin = held.origin
    weights = Weights(
        identity=identity_of(held.path, home=settings.home, progress=progress),
        name=held.ref,
        location=held.path,
        terms=Terms(licence=held.licence),
    )
    with open_record(settings) as events:
        if source is None and origin.repo is not None and origin.commit is not None:
            came = Source(kind="hub", reference=origin.repo.text, revision=origin.commit.hex)
            record_obtained(events, weights, source=came)
        else:
            came = source or Source(kind="file", reference=origin.place)
            record_imported(events, weights, source=came)
