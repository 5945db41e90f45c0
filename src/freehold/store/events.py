"""The record of events: appended one after the other, each with the hash of the one before.

Room: store. Knows the order and the hashes; must not know what an event means.

The hash of an event is the SHA-256 of one line of canonical JSON (keys sorted, no spaces, ASCII):
`[seq,at,kind,subject,parents,body,previous]`, exactly as the columns hold it. The head is kept
beside the events, and once more outside the database (`store/witness.py`), so that events missing
at the end are missed.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.errors import BadReference, ChainBroken
from freehold.store.chain import GENESIS, Head, Row, broken_at, hash_of
from freehold.store.schema import event_head, events

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, RowMapping

    from freehold.store.database import Database
    from freehold.store.witness import Witness

__all__ = ["Event", "Events", "canonical"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z_]{0,39}")
_MOST_BODY_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened to weights or data. `at` is UTC, as 2026-01-31T09:30:00.123456Z."""

    seq: int
    at: str
    kind: str
    subject: str
    parents: tuple[str, ...]
    body: Mapping[str, Any]
    previous: str
    hash: str


def canonical(value: object) -> str:
    """The one JSON text of a value: keys sorted, no spaces, ASCII only, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Events:
    """The record of one database. Safe to use from many threads and processes; blocking."""

    def __init__(self, database: Database, witness: Witness | None = None) -> None:
        self._database = database
        self._witness = witness

    def append(
        self, *, kind: str, subject: str, body: Mapping[str, Any], parents: Sequence[str] = ()
    ) -> Event:
        """Add one event at the end, in one transaction that no other process can enter.

        `subject` and `parents` are "sha256:" and 64 hexadecimal digits. A record that was damaged
        before is still appended to, and the damage stays visible to `verify`.
        Raises: BadReference, StoreUnusable.
        """
        _check(kind, subject, parents)
        text = canonical(body)
        if len(text) > _MOST_BODY_BYTES:
            raise BadReference(
                "this event says too much to be kept",
                value=kind,
                expected=f"at most {_MOST_BODY_BYTES} bytes",
                found=f"{len(text)} bytes",
            )
        with self._database.write() as connection:
            head = _locked_head(connection, is_sqlite=self._database.is_sqlite)
            row = Row(
                seq=head.seq + 1,
                at=_now(),
                kind=kind,
                subject=subject,
                parents=canonical(list(parents)),
                body=text,
                previous=head.hash,
            )
            event = _event(row, hash_of(row))
            connection.execute(sa.insert(events), [row.columns() | {"hash": event.hash}])
            connection.execute(sa.update(event_head), {"seq": event.seq, "hash": event.hash})
        if self._witness is not None:
            self._witness.saw(Head(event.seq, event.hash))
        return event

    def all(self) -> tuple[Event, ...]:
        """Every event, the oldest first; nothing is verified. Raises: ChainBroken, StoreUnusable.

        ChainBroken here means that an event is not even readable.
        """
        return self._events(self._query())

    def about(self, subject: str) -> tuple[Event, ...]:
        """The events of one subject, the oldest first. Raises: as `all`."""
        return self._events(self._query().where(events.c.subject == subject))

    def head(self) -> Head:
        """The number and hash of the last event, to be kept elsewhere; (0, 64 zeros) if none."""
        with self._database.read() as connection:
            return _last(connection)

    def verify(self, anchor: Head | None = None) -> Head:
        """Compute the whole chain anew and return its head.

        `anchor` is a head that was kept elsewhere: the record must still contain it.
        Raises: ChainBroken, naming the first event that is altered, missing or out of place;
        StoreUnusable.
        """
        # The notes first: what another process appends meanwhile is then no contradiction.
        seen = None if self._witness is None else self._witness.head()
        with self._database.read() as connection:
            kept = connection.execute(sa.select(event_head.c.seq, event_head.c.hash)).all()
            found = connection.execute(self._query()).mappings().all()
        anchors = [("the database's note of the last event", Head(*row)) for row in kept]
        if seen is not None:
            anchors.append(("this home's note of the last event", seen))
        if anchor is not None:
            anchors.append(("the head that was kept elsewhere", anchor))
        rows = [(_row(row), _text(row["hash"])) for row in found]
        problem = broken_at(rows, anchors, has_head=len(kept) == 1)
        if problem is not None:
            raise problem
        return Head(rows[-1][0].seq, rows[-1][1]) if rows else GENESIS

    def _query(self) -> sa.Select[Any]:
        if not self._database.is_sqlite:
            return sa.select(events).order_by(events.c.seq)
        # As bytes: a text that was damaged into something else than UTF-8 must still be found.
        texts = [sa.cast(c, sa.LargeBinary).label(c.name) for c in events.c if c.name != "seq"]
        return sa.select(events.c.seq, *texts).order_by(events.c.seq)

    def _events(self, query: sa.Select[Any]) -> tuple[Event, ...]:
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(_event(_row(row), _text(row["hash"])) for row in rows)


def _check(kind: str, subject: str, parents: Sequence[str]) -> None:
    if not _KIND.fullmatch(kind):
        raise BadReference("this is no kind of event", value=kind, expected="small letters and _")
    for digest in (subject, *parents):
        if not _DIGEST.fullmatch(digest):
            raise BadReference(
                "an event is about weights or data by their digest",
                value=digest,
                expected="sha256: and 64 hexadecimal digits",
                found=repr(digest),
            )


def _now() -> str:
    now = datetime.datetime.now(datetime.UTC)
    return now.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _locked_head(connection: Connection, *, is_sqlite: bool) -> Head:
    """Where the next event goes, held until the transaction ends."""
    query = sa.select(event_head.c.seq, event_head.c.hash)
    # SQLite's transaction holds the only write lock already.
    kept = connection.execute(query if is_sqlite else query.with_for_update()).first()
    last = _last(connection)
    # They differ only after somebody altered the database; then the gap must stay to be seen.
    return last if kept is None or kept.seq <= last.seq else Head(kept.seq, kept.hash)


def _last(connection: Connection) -> Head:
    query = sa.select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return GENESIS if row is None else Head(row.seq, row.hash)


def _row(row: RowMapping) -> Row:
    seq = row["seq"]
    return Row(
        # SQLite keeps any type in any column.
        seq=seq if isinstance(seq, int) else -1,
        at=_text(row["at"]),
        kind=_text(row["kind"]),
        subject=_text(row["subject"]),
        parents=_text(row["parents"]),
        body=_text(row["body"]),
        previous=_text(row["previous"]),
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _event(row: Row, digest: str) -> Event:
    try:
        parents, body = json.loads(row.parents), json.loads(row.body)
    except ValueError as error:
        raise ChainBroken(
            f"event {row.seq} was altered: it cannot be read",
            value=row.seq,
            expected="JSON",
            found=str(error),
        ) from error
    if not isinstance(parents, list) or not isinstance(body, dict):
        raise ChainBroken(
            f"event {row.seq} was altered: it cannot be read",
            value=row.seq,
            expected="a list of parents, and an object",
            found=f"{type(parents).__name__} and {type(body).__name__}",
        )
    return Event(
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        subject=row.subject,
        parents=tuple(str(parent) for parent in parents),
        body=body,
        previous=row.previous,
        hash=digest,
    )
