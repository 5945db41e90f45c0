"""A deed as plain JSON: all that the record says, so that others can recompute it.

Room: library. Knows the form only; must not know terminals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freehold.library.deed import Deed
    from freehold.store import Event, Head

__all__ = ["deed_document", "event_facts"]

FORM = "freehold deed 1"


def deed_document(deed: Deed, head: Head) -> dict[str, Any]:
    """The deed of a model, and of all that it was made from, with every event whole."""
    return {"form": FORM, **_deed(deed), "record": {"events": head.seq, "head": str(head)}}


def event_facts(event: Event) -> dict[str, Any]:
    """An event's fields, in the order that its hash covers them."""
    return {
        "seq": event.seq,
        "at": event.at,
        "kind": event.kind,
        "subject": event.subject,
        "parents": list(event.parents),
        "body": dict(event.body),
        "previous": event.previous,
        "hash": event.hash,
    }


def _deed(deed: Deed) -> dict[str, Any]:
    return {
        "name": deed.name,
        "digest": deed.digest,
        "licence": deed.licence,
        "licences": list(deed.licences),
        "location": None if deed.location is None else str(deed.location),
        "files": [
            {"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in deed.files
        ],
        "events": [event_facts(event) for event in deed.events],
        "acceptances": [event_facts(event) for event in deed.acceptances],
        "parents": [_deed(parent) for parent in deed.parents],
    }
