"""Work in the background: asked for, claimed by one worker at a time, told about in events.

Room: store. Every query of an asker names the owner; a worker's change names the worker, so that
one that lost its lease changes nothing any more. An event is written in the transaction of the
state that it speaks of. Must not know what a job does.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.errors import BadRequest, NotFound
from freehold.store.paging import after_row
from freehold.store.schema import eval_items, job_events
from freehold.store.schema import jobs as table

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, RowMapping

    from freehold.store.database import Database

    _Row = RowMapping | dict[str, Any]

__all__ = ["ENDED", "Job", "JobEvent", "Jobs", "Said"]

LEASE_S = 30.0

# A job is queued, running or paused until it has ended in one of these.
ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})
_PREFIX = {"fine_tuning": "ftjob-", "batch": "batch_", "eval_run": "evalrun_"}
_ASKED = ("cancel", "pause", "resume")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job. `spec` is what was asked for and stays; `state` is its worker's own.

    Units: times in seconds since 1970.
    """

    id: str
    owner: str
    kind: str
    parent: str | None
    status: str
    spec: dict[str, Any]
    state: dict[str, Any]
    asked: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True)
class Said:
    """An event that is to be told: never the text of data, prompts or answers."""

    message: str
    level: str = "info"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """One event of a job; `seq` counts from 1 without a gap."""

    job_id: str
    seq: int
    at: float
    level: str
    message: str
    data: dict[str, Any]


class Jobs:
    """The jobs of one database. Safe to use from many threads and processes; blocking."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        *,
        owner: str,
        kind: str,
        spec: Mapping[str, Any],
        parent: str | None = None,
        state: Mapping[str, Any] | None = None,
        say: Sequence[Said] = (),
    ) -> Job:
        """A new job, queued. Raises: StoreUnusable."""
        row: dict[str, Any] = {
            "id": _PREFIX[kind] + secrets.token_hex(16),
            "owner": owner,
            "kind": kind,
            "parent": parent,
            "status": "queued",
            "spec": _json(spec),
            "state": _json(state or {}),
            "created_at": time.time(),
            "told": 0,
        }
        with self._database.write() as connection:
            connection.execute(sa.insert(table), [row])
            found = self._told(connection, _locked(connection, row["id"], self._database), say)
        return _job(found)

    def get(self, job_id: str, *, owner: str) -> Job | None:
        """The owner's job with this id, if there is one. Raises: StoreUnusable."""
        query = sa.select(table).where(table.c.id == job_id, table.c.owner == owner)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _job(row)

    def list(
        self,
        *,
        owner: str,
        kind: str,
        parent: str | None = None,
        after: str | None = None,
        limit: int = 10_000,
        newest_first: bool = True,
    ) -> list[Job]:
        """The owner's jobs of one kind. Raises: NotFound for `after`."""
        query = sa.select(table).where(table.c.owner == owner, table.c.kind == kind)
        if parent is not None:
            query = query.where(table.c.parent == parent)
        with self._database.read() as connection:
            paged = after_row(
                connection, table, query, after=after, owner=owner, newest_first=newest_first
            )
            rows = connection.execute(paged.limit(limit)).mappings().all()
        return [_job(row) for row in rows]

    def unfinished(self, kind: str) -> tuple[Job, ...]:
        """Every owner's jobs of one kind that have not ended, the oldest first: for the server."""
        query = sa.select(table).where(table.c.kind == kind, table.c.status.not_in(ENDED))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.created_at)).mappings().all()
        return tuple(_job(row) for row in rows)

    def succeeded(self, kind: str) -> tuple[Job, ...]:
        """Every owner's jobs of one kind that succeeded, the oldest first: for the server."""
        query = sa.select(table).where(table.c.kind == kind, table.c.status == "succeeded")
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.created_at)).mappings().all()
        return tuple(_job(row) for row in rows)

    def claim(self, kind: str, worker: str, *, lease_s: float = LEASE_S) -> Job | None:
        """The oldest job that waits, or whose worker is gone; from now on it is this worker's.

        `beat` keeps it for another `lease_s`. None where nothing waits. Raises: StoreUnusable.
        """
        now = time.time()
        lost = sa.and_(table.c.status == "running", table.c.leased_until < now)
        waits = sa.and_(table.c.kind == kind, sa.or_(table.c.status == "queued", lost))
        query = sa.select(table).where(waits).order_by(table.c.created_at, table.c.id).limit(1)
        if not self._database.is_sqlite:  # whose transaction holds the only write lock
            query = query.with_for_update(skip_locked=True)
        with self._database.write() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            change = {
                "status": "running",
                "started_at": row["started_at"] or now,
                "worker": worker,
                "leased_until": now + lease_s,
            }
            return _job(_changed(connection, row, change))

    def release(self, worker: str) -> int:
        """Take the lease from what an earlier life of this worker left running; how many."""
        query = sa.update(table).where(table.c.worker == worker, table.c.status == "running")
        with self._database.write() as connection:
            return connection.execute(query.values(leased_until=0.0)).rowcount

    def beat(
        self,
        job_id: str,
        worker: str,
        state: Mapping[str, Any] | None = None,
        *,
        say: Sequence[Said] = (),
        lease_s: float = LEASE_S,
    ) -> Job | None:
        """Keep a job for another `lease_s`, with its new state and what there is to tell.

        None when the job is not this worker's any more: then nothing was written, and the worker
        must stop. What its owner asked for meanwhile is in `asked`. Raises: StoreUnusable.
        """
        change: dict[str, Any] = {"leased_until": time.time() + lease_s}
        if state is not None:
            change["state"] = _json(state)
        return self._by_worker(job_id, worker, change, say)

    def finish(
        self,
        job_id: str,
        worker: str,
        status: str,
        state: Mapping[str, Any] | None = None,
        *,
        say: Sequence[Said] = (),
    ) -> Job | None:
        """End a job, set it aside as "paused", or give it back as "queued". None: as `beat`."""
        now = time.time()
        change: dict[str, Any] = {"status": status, "asked": None, "worker": None}
        change["leased_until"] = None
        change["finished_at"] = now if status in ENDED else None
        if state is not None:
            change["state"] = _json(state)
        return self._by_worker(job_id, worker, change, say)

    def ask(self, job_id: str, what: str, *, owner: str, say: Sequence[Said] = ()) -> Job:
        """Have the owner's job cancelled, paused or resumed.

        A job that nobody works on changes at once; a running one is told and changes when its
        worker says so. Raises: NotFound; BadRequest where the job is past it.
        """
        assert what in _ASKED, what
        with self._database.write() as connection:
            row = _locked(connection, job_id, self._database)
            if row is None or row["owner"] != owner:
                raise NotFound("there is no such job", value=job_id[:100])
            change = _asked(row, what)
            return _job(self._told(connection, _changed(connection, row, change), say))

    def note(self, job_id: str, state: Mapping[str, Any], *, owner: str) -> bool:
        """Another state for the owner's job that has ended; False if there is none."""
        query = (
            sa.update(table)
            .where(table.c.id == job_id, table.c.owner == owner, table.c.status.in_(ENDED))
            .values(state=_json(state))
        )
        with self._database.write() as connection:
            return connection.execute(query).rowcount > 0

    def tell(
        self, job_id: str, level: str, message: str, data: Mapping[str, Any] | None = None
    ) -> int:
        """Add one event; its number. Raises: NotFound, StoreUnusable."""
        said = Said(message, level, data or {})
        with self._database.write() as connection:
            row = _locked(connection, job_id, self._database)
            if row is None:
                raise NotFound("there is no such job", value=job_id[:100])
            return int(self._told(connection, row, [said])["told"])

    def events(
        self, job_id: str, *, owner: str, after: int = 0, limit: int = 10_000
    ) -> tuple[JobEvent, ...]:
        """The events of the owner's job after number `after`, the oldest first."""
        events = job_events.c
        query = (
            sa.select(job_events)
            .join(table, table.c.id == events.job_id)
            .where(events.job_id == job_id, table.c.owner == owner, events.seq > after)
            .order_by(events.seq)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(JobEvent(**{**row, "data": json.loads(row["data"])}) for row in rows)

    def delete(self, job_id: str, *, owner: str) -> bool:
        """Forget the owner's job with its events and items. Raises: BadRequest for an open one."""
        with self._database.write() as connection:
            row = _locked(connection, job_id, self._database)
            if row is None or row["owner"] != owner:
                return False
            if row["status"] not in ENDED:
                raise BadRequest(
                    "a job that has not ended cannot be deleted",
                    value=row["status"],
                    hint="cancel it first",
                )
            connection.execute(sa.delete(job_events).where(job_events.c.job_id == job_id))
            connection.execute(sa.delete(eval_items).where(eval_items.c.run_id == job_id))
            connection.execute(sa.delete(table).where(table.c.id == job_id))
        return True

    def _by_worker(
        self, job_id: str, worker: str, change: Mapping[str, Any], say: Sequence[Said]
    ) -> Job | None:
        with self._database.write() as connection:
            row = _locked(connection, job_id, self._database)
            if row is None or row["worker"] != worker or row["status"] != "running":
                return None
            return _job(self._told(connection, _changed(connection, row, change), say))

    def _told(self, connection: Connection, row: _Row | None, say: Sequence[Said]) -> _Row:
        """The events go in under the next numbers, while the job's row is held."""
        assert row is not None, "a job is gone in the transaction that holds it"
        if not say:
            return row
        now = time.time()
        told = int(row["told"])
        rows = [
            {
                "job_id": row["id"],
                "seq": told + number,
                "at": now,
                "level": said.level,
                "message": said.message,
                "data": _json(said.data),
            }
            for number, said in enumerate(say, 1)
        ]
        connection.execute(sa.insert(job_events), rows)
        return _changed(connection, row, {"told": told + len(rows)})


def _asked(row: _Row, what: str) -> dict[str, Any]:
    """What changes with an owner's wish. Raises: BadRequest."""
    status = row["status"]
    if status in ENDED:
        raise BadRequest(
            f"the job has ended: {status}",
            value=status,
            expected="a job that is queued, running or paused",
            found=status,
        )
    if what == "cancel":
        if status == "running":
            return {"asked": "cancel"}
        return {"status": "cancelled", "asked": None, "finished_at": time.time()}
    if row["asked"] == "cancel":
        raise BadRequest("the job is being cancelled", value=status)
    if what == "pause":
        return {"asked": "pause"} if status == "running" else {"status": "paused"}
    return {"status": "queued"} if status == "paused" else {"asked": None}


def _locked(connection: Connection, job_id: str, database: Database) -> RowMapping | None:
    """A job's row, held until the transaction ends."""
    query = sa.select(table).where(table.c.id == job_id)
    if not database.is_sqlite:
        query = query.with_for_update()
    return connection.execute(query).mappings().one_or_none()


def _changed(connection: Connection, row: _Row, change: Mapping[str, Any]) -> dict[str, Any]:
    connection.execute(sa.update(table).where(table.c.id == row["id"]).values(**change))
    return {**row, **change}


def _json(value: Mapping[str, Any]) -> str:
    # Escaped to ASCII: PostgreSQL refuses a NUL and a lone surrogate in a text.
    return json.dumps(value, allow_nan=False)


def _job(row: _Row) -> Job:
    return Job(
        id=row["id"],
        owner=row["owner"],
        kind=row["kind"],
        parent=row["parent"],
        status=row["status"],
        spec=json.loads(row["spec"]),
        state=json.loads(row["state"]),
        asked=row["asked"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
