"""A model's chain of record, put together from the events: what it is, whence, and what was done.

Room: library. Reads the record; must not hash anything, nor know terminals or formats of export.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.errors import BadReference, ChainBroken, DigestMismatch, UnknownModel
from freehold.library.identity import HashedFile, Identity
from freehold.library.record import has_files, is_end, weights_at
from freehold.library.references import resolve

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.store import Event, Events, Head

__all__ = ["Deed", "all_deeds", "deed_of", "find_deed"]

_DIGEST = re.compile(r"(sha256:)?(?P<digits>[0-9a-f]{8,64})")


@dataclass(frozen=True, kw_only=True)
class Deed:
    """What the record says of one model.

    `events` are about it, the oldest first; `acceptances` are of its licence, `parents` what it was
    made from. `location` is where the record last saw it: None once it was removed. A parent that
    the record knows only by name has no events.
    """

    digest: str
    name: str
    files: tuple[HashedFile, ...]
    events: tuple[Event, ...] = ()
    acceptances: tuple[Event, ...] = ()
    parents: tuple[Deed, ...] = ()
    location: Path | None = None

    @property
    def origin(self) -> Event | None:
        """The latest event that says where the weights came from."""
        return next((event for event in reversed(self.events) if has_files(event)), None)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def licence(self) -> str | None:
        """The id of the licence that came with the weights."""
        return None if self.origin is None else _text(self.origin.body, "licence")

    @property
    def licences(self) -> tuple[str, ...]:
        """Its licence, and those of all that it was made from: a derivative inherits them."""
        found = (one.licence for one in self.lineage())
        return tuple(dict.fromkeys(licence for licence in found if licence is not None))

    def of_kind(self, kind: str) -> tuple[Event, ...]:
        """The events of one kind, the oldest first."""
        return tuple(event for event in self.events if event.kind == kind)

    def lineage(self) -> tuple[Deed, ...]:
        """The model and everything that it was made from, each once."""
        found = {self.digest: self}
        for parent in self.parents:
            for one in parent.lineage():
                found.setdefault(one.digest, one)
        return tuple(found.values())


def find_deed(
    ref: str,
    events: Events,
    *,
    settings: Settings,
    identify: Callable[[Path], Identity],
) -> tuple[Deed, Head]:
    """The deed of a model named by reference, by a name in the record, or by its digest.

    A path that the record does not know is hashed by `identify`, since the same bytes may be known
    from elsewhere. Gives the record's head too. Raises: UnknownModel, BadReference, ChainBroken.
    """
    head = events.head()
    known = events.all()
    digest = _by_digest(ref, known) or _by_name(ref, known)
    if digest is None:
        path = _resolved(ref, settings)
        digest = weights_at(known, path)
        if digest is None:
            digest = identify(path).digest
        if not any(event.subject == digest for event in known):
            raise UnknownModel(
                f"the record knows nothing of these weights: {path}",
                value=ref,
                expected=f"an event about {digest}",
                found=f"{len(known)} events about others",
                hint="`freehold pull NAME --verify` or `freehold import PATH` records a model",
            )
    return deed_of(digest, known), head


def all_deeds(events: Events) -> tuple[tuple[Deed, ...], Head]:
    """The deeds of all weights on record, by the order in which they came, and the head.

    Raises: ChainBroken.
    """
    head = events.head()
    known = events.all()
    digests = dict.fromkeys(event.subject for event in known if has_files(event))
    return tuple(deed_of(digest, known) for digest in digests), head


def deed_of(digest: str, known: tuple[Event, ...]) -> Deed:
    """The deed of weights by their digest, out of all events. Raises: ChainBroken."""
    return _deed(digest, known, frozenset(), None)


def _deed(
    digest: str, known: tuple[Event, ...], below: frozenset[str], child: Event | None
) -> Deed:
    own = tuple(event for event in known if event.subject == digest)
    origins = [event for event in own if has_files(event)]
    if not origins:
        return _named_only(digest, own, child)
    names = {_text(event.body, "name") for event in own}
    parents = {parent: origin for origin in origins for parent in origin.parents}
    above = below | {digest}  # only a forged record goes in circles
    return Deed(
        digest=digest,
        name=_text(origins[-1].body, "name") or digest[:19],
        files=_files(origins[-1]),
        events=own,
        acceptances=tuple(
            event
            for event in known
            if event.kind == "licence_accepted" and _covers(event, origins, names | {digest})
        ),
        parents=tuple(
            _deed(parent, known, above, origin)
            for parent, origin in parents.items()
            if parent not in above
        ),
        location=_location(own),
    )


def _named_only(digest: str, own: tuple[Event, ...], child: Event | None) -> Deed:
    """A parent of which the record has no more than its child's word."""
    told = child is not None and "parent_files" in child.body and len(child.parents) == 1
    files = _files(child, "parent_files") if child is not None and told else ()
    names = [_text(event.body, "name") for event in own]
    name = next((name for name in names if name), None) or (files[0].name if files else None)
    return Deed(digest=digest, name=name or digest[:19], files=files, events=own)


def _covers(acceptance: Event, origins: list[Event], names: set[str | None]) -> bool:
    """Whether an acceptance is of this model's licence: of its very text, where that is known."""
    for origin in origins:
        text = _text(origin.body, "text_sha256")
        if text is not None and acceptance.body.get("text_sha256") == text:
            return True
        licence = _text(origin.body, "licence")
        if text is None and licence and acceptance.body.get("licence") == licence:
            models = acceptance.body.get("models")
            if not models or (isinstance(models, list) and names & set(map(str, models))):
                return True
    return False


def _location(own: tuple[Event, ...]) -> Path | None:
    for event in reversed(own):
        place = _text(event.body, "location")
        if place is not None:
            return None if is_end(event) else Path(place)
    return None


def _by_digest(ref: str, known: tuple[Event, ...]) -> str | None:
    match = _DIGEST.fullmatch(ref)
    if match is None:
        return None
    begin = f"sha256:{match['digits']}"
    found = {
        event.subject for event in known if has_files(event) and event.subject.startswith(begin)
    }
    if len(found) > 1:
        raise BadReference(
            "several models have digests that begin so",
            value=ref,
            expected="more digits",
            found=", ".join(sorted(digest[:23] for digest in found)),
        )
    return found.pop() if found else None


def _by_name(ref: str, known: tuple[Event, ...]) -> str | None:
    if os.sep in ref and Path(ref).exists():
        return None
    found = (e.subject for e in reversed(known) if has_files(e) and e.body.get("name") == ref)
    return next(found, None) or weights_at(known, Path(ref))


def _resolved(ref: str, settings: Settings) -> Path:
    try:
        return resolve(ref, settings=settings)
    except DigestMismatch as error:
        # The record does not know it, so there is nothing to compare the damage with.
        raise UnknownModel(
            "the record knows nothing of this model, and its files are damaged",
            value=ref,
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from error


def _files(event: Event, key: str = "files") -> tuple[HashedFile, ...]:
    try:
        return tuple(HashedFile.from_facts(file) for file in event.body[key])
    except (KeyError, TypeError, ValueError) as error:
        raise ChainBroken(
            f"event {event.seq} was altered: its files cannot be read",
            value=event.seq,
            expected="files with names, sizes and digests",
            found=type(error).__name__,
        ) from error


def _text(body: Mapping[str, Any], key: str) -> str | None:
    value = body.get(key)
    return value if isinstance(value, str) else None
