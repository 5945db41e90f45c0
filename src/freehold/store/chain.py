"""The arithmetic of the record: what an event's hash covers, and where a chain is broken.

Room: store. Plain data; must not know the database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from freehold.errors import BadReference, ChainBroken

__all__ = ["GENESIS", "Head", "Row", "broken_at", "hash_of"]


@dataclass(frozen=True)
class Head:
    """The number and the hash of an event: whoever keeps it elsewhere fixes all events up to it."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """From "12:ab34…". Raises: BadReference."""
        seq, _, digest = text.strip().partition(":")
        usable = seq.isascii() and seq.isdigit() and len(seq) <= 18
        if not usable or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise BadReference(
                "this is no head of a record",
                value=text,
                expected="the number of an event, a colon and its hash of 64 digits",
                found=repr(text),
                hint="`freehold deed REF --json` says it as record.head",
            )
        return cls(int(seq), digest)


GENESIS = Head(0, "0" * 64)


@dataclass(frozen=True, kw_only=True)
class Row:
    """An event as its columns hold it: `parents` and `body` are the JSON text itself."""

    seq: int
    at: str
    kind: str
    subject: str
    parents: str
    body: str
    previous: str

    def columns(self) -> dict[str, object]:
        """The row's values by the names of the columns."""
        return dict(vars(self))


def hash_of(row: Row) -> str:
    """The event's hash. The JSON of parents and body goes in as it is kept, to the last byte."""
    first = ",".join(_text(part) for part in (row.at, row.kind, row.subject))
    line = f"[{row.seq},{first},{row.parents},{row.body},{_text(row.previous)}]"
    return hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()


def _text(value: object) -> str:
    return json.dumps(value)


def broken_at(
    rows: Sequence[tuple[Row, str]], anchors: Sequence[tuple[str, Head]], *, has_head: bool
) -> ChainBroken | None:
    """What is wrong with a chain first, or None.

    `rows` are all events by number, each with the hash that is kept of it. `anchors` are heads that
    must be in the chain, each with where it was kept; `has_head` says whether one of them is the
    database's own.
    """
    before = GENESIS
    for row, kept in rows:
        problem = _after(before, row, kept)
        if problem is not None:
            return problem
        before = Head(row.seq, kept)
    if not has_head:
        return _broken(0, "the note of the last event is gone", "one head", "none or several")
    hashes = {row.seq: kept for row, kept in rows} | {GENESIS.seq: GENESIS.hash}
    for where, anchor in anchors:
        problem = _missing(anchor, hashes, before, where)
        if problem is not None:
            return problem
    return None


def _after(before: Head, row: Row, kept: str) -> ChainBroken | None:
    seq = before.seq + 1
    if row.seq != seq:
        last = row.seq - 1
        which = f"event {seq} is" if last <= seq else f"events {seq} to {last} are"
        return _broken(seq, f"{which} missing from the record", f"event {seq}", f"event {row.seq}")
    computed = hash_of(row)
    if computed != kept:
        what = f"event {seq} was altered ({_story(row)})"
        return _broken(seq, what, f"sha256 {kept}", f"sha256 {computed}")
    if row.previous != before.hash:
        what = f"event {seq} does not follow the one before it: either was replaced ({_story(row)})"
        return _broken(seq, what, f"after {before.hash}", f"after {row.previous}")
    return None


def _missing(anchor: Head, hashes: dict[int, str], last: Head, where: str) -> ChainBroken | None:
    found = hashes.get(anchor.seq)
    if found == anchor.hash:
        return None
    if found is None:
        seq = last.seq + 1
        which = f"event {seq} is" if anchor.seq <= seq else f"events {seq} to {anchor.seq} are"
        what = f"{which} missing from the end of the record: {where} has number {anchor.seq}"
        return _broken(seq, what, f"{anchor.seq} events", f"{last.seq} events")
    what = f"the record was written anew: event {anchor.seq} is not the one of {where}"
    return _broken(anchor.seq, what, f"sha256 {anchor.hash}", f"sha256 {found}")


def _story(row: Row) -> str:
    """What the event says it is, for a person who looks for it; as far as it can still be read."""
    try:
        body = json.loads(row.body)
    except ValueError:
        body = None
    who = body.get("by") if isinstance(body, dict) else None
    by = f" by {who}" if isinstance(who, str) else ""
    return f"{row.kind}{by}, {row.at}"


def _broken(seq: int, what: str, expected: str, found: str) -> ChainBroken:
    return ChainBroken(
        what,
        value=seq,
        expected=expected,
        found=found,
        hint="compare with a backup of the database; what the record says from here on is unproven",
    )
