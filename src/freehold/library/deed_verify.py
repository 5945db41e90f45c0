"""Proves a deed, or finds what contradicts it: the chain, every file's bytes, the accepted texts.

Room: library. Hashes everything anew and asks no cache; must not know terminals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.errors import ChainBroken, DigestMismatch, FreeholdError
from freehold.library.deed import Deed
from freehold.library.deed_places import describe_ranges
from freehold.library.identity import (
    HashedFile,
    digest_of_files,
    files_of,
    hash_file,
    pieces_differ,
)
from freehold.library.progress import Progress

if TYPE_CHECKING:
    from freehold.store import Event, Events, Head

__all__ = ["Check", "check_chain", "check_deeds"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at: `what`, how it stands in words, and what contradicts it."""

    what: str
    finding: str
    error: FreeholdError | None = None


def check_chain(events: Events, anchor: Head | None = None) -> Check:
    """The whole record, event by event. Raises: StoreUnusable."""
    what = "record"
    try:
        head = events.verify(anchor)
    except ChainBroken as error:
        return Check(what=what, finding=error.message, error=error)
    kept = "" if anchor is None else f", and contains the head {anchor.seq} that was kept elsewhere"
    return Check(what=what, finding=f"{head.seq} events follow one another{kept}")


def check_deeds(deeds: Sequence[Deed], progress: Progress) -> list[Check]:
    """The files of the models and of their parents that are here, the parents, the acceptances.

    Every byte is read again, once.
    """
    models = list({one.digest: one for deed in deeds for one in deed.lineage()}.values())
    sizes = [one.size_bytes if one.location is not None else 0 for one in models]
    checks, done = [], 0
    for one, size_bytes in zip(models, sizes, strict=True):

        def show(read: int, before: int = done) -> None:
            progress("verify", min(before + read, sum(sizes)), sum(sizes))

        checks += _check_files(one, show)
        done += size_bytes
        checks += [check for event in one.events if (check := _check_said(event))]
    # One acceptance may be of a model's licence and of its parents'.
    accepted = {event.seq: event for one in models for event in one.acceptances}
    return checks + [_check_acceptance(event) for event in accepted.values()]


def _check_files(deed: Deed, show: Callable[[int], None]) -> list[Check]:
    if not deed.files:
        return [Check(what=deed.name, finding="known by its digest alone; nothing to compare")]
    if deed.location is None:
        gone = "removed from this machine" if deed.of_kind("removed") else "not on this machine"
        return [Check(what=deed.name, finding=f"{gone}; nothing to hash")]
    try:
        found = files_of(deed.location) if deed.location.exists() else {}
    except FreeholdError:
        found = {}
    checks, done = [], 0
    for file in deed.files:
        path = _path_of(file, deed, found)

        def show_file(read: int, before: int = done) -> None:
            show(before + read)

        checks.append(_check_file(file, path, _called(deed, file), show_file))
        done += file.size_bytes
    named = {file.name for file in deed.files}
    if len(deed.files) > 1:
        checks += [
            _surplus(f"{deed.name}/{name}", path)
            for name, path in found.items()
            if name not in named
        ]
    return checks


def _path_of(file: HashedFile, deed: Deed, found: dict[str, Path]) -> Path:
    assert deed.location is not None, "asked for a file of weights that are not here"
    if len(deed.files) == 1 and not deed.location.is_dir():
        return deed.location
    inside = deed.location if deed.location.is_dir() else deed.location.parent
    # The record is not trusted with paths: no name leads out of the model's own folder.
    steps = [step for step in file.name.split("/") if step not in ("", ".", "..")]
    return found.get(file.name, inside.joinpath(*steps))


def _called(deed: Deed, file: HashedFile) -> str:
    # Every second directory has a config.json.
    return file.name if len(deed.files) == 1 else f"{deed.name}/{file.name}"


def _check_file(file: HashedFile, path: Path, what: str, show: Callable[[int], None]) -> Check:
    if not path.is_file():
        found = "something else than a file" if path.exists() else "nothing there"
        error = _mismatch(file, path, "is missing", found)
        return Check(what=what, finding="missing", error=error)
    try:
        now = hash_file(path, file.name, piece_bytes=file.piece_bytes, show=show)
    except OSError as trouble:
        reason = trouble.strerror or type(trouble).__name__
        error = _mismatch(file, path, "cannot be read", reason)
        return Check(what=what, finding=reason, error=error)
    except DigestMismatch as change:
        return Check(what=what, finding=change.message, error=change)
    if now.sha256 == file.sha256 and now.size_bytes == file.size_bytes:
        return Check(what=what, finding=f"{file.size_bytes:,} bytes, sha256 as recorded")
    place = describe_ranges(path, pieces_differ(file, now))
    if now.size_bytes != file.size_bytes:
        place = f"{now.size_bytes:,} bytes where {file.size_bytes:,} were recorded; {place}"
    altered = f"altered in {place}" if place else "altered"
    error = _mismatch(file, path, f"is not what was recorded: {altered}", f"sha256 {now.sha256}")
    return Check(what=what, finding=altered, error=error)


def _mismatch(file: HashedFile, path: Path, what: str, found: str) -> DigestMismatch:
    return DigestMismatch(
        f"{path} {what}",
        value=str(path),
        expected=f"sha256 {file.sha256}",
        found=found,
        hint="fetch it again from where the deed says it came from",
    )


def _surplus(name: str, path: Path) -> Check:
    error = DigestMismatch(
        f"{path} was not there when the model was recorded",
        value=str(path),
        expected="the recorded files alone",
        found="one more that is part of a model",
        hint="move it away",
    )
    return Check(what=name, finding="not among the recorded files", error=error)


def _check_said(event: Event) -> Check | None:
    """Whether an event's own list of files gives the digest it is about, and its parent's theirs.

    No alteration gets past the chain; this finds what was never right.
    """
    for key, digests in (("files", [event.subject]), ("parent_files", list(event.parents))):
        listed = event.body.get(key)
        if not isinstance(listed, list) or len(digests) != 1:
            continue
        told = digest_of_files([HashedFile.from_facts(facts) for facts in listed])
        if told != digests[0]:
            error = ChainBroken(
                f"event {event.seq} contradicts itself: its {key} are not those of its digest",
                value=event.seq,
                expected=digests[0],
                found=told,
            )
            return Check(what=f"event {event.seq}", finding=error.message, error=error)
    return None


def _check_acceptance(event: Event) -> Check:
    text, by = event.body.get("text"), event.body.get("by")
    what = f"acceptance of {event.body.get('licence')}"
    digest = hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).hexdigest()
    if digest == event.body.get("text_sha256") and event.subject == f"sha256:{digest}":
        finding = f"by {by}, {event.at[:16].replace('T', ' ')}: the text kept is the one accepted"
        return Check(what=what, finding=finding)
    error = ChainBroken(
        f"the text kept in event {event.seq} is not the one that {by} accepted at {event.at}",
        value=event.seq,
        expected=str(event.body.get("text_sha256")),
        found=digest,
    )
    return Check(what=what, finding=error.message, error=error)
