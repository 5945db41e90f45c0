"""Which model a name stands for: every promotion and rollback is kept, the last one holds.

Room: store. A name is the server's, as its models are; who decided is kept with the decision. Must
not know what a model is or why it is better.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.errors import NotFound
from freehold.store.schema import promotions as table

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, RowMapping

    from freehold.store.database import Database

__all__ = ["Promotion", "Promotions"]

# One number that all processes agree on, for PostgreSQL's lock around a decision.
_LOCK = 0x66726565686F6C65


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """One decision about a name: "promoted" to `model`, or "rolled_back" to it."""

    name: str
    seq: int
    owner: str
    action: str
    model: str
    evidence: dict[str, Any]
    created_at: float


class Promotions:
    """The promotions of one database. Safe to use from many threads and processes; blocking."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def promote(
        self, *, owner: str, name: str, model: str, evidence: Mapping[str, Any]
    ) -> Promotion:
        """From now on `name` stands for `model`. Raises: StoreUnusable."""
        with self._database.write() as connection:
            past = self._past(connection, name)
            return _added(connection, past, (name, owner, "promoted", model), evidence)

    def rollback(
        self, name: str, *, owner: str, evidence: Mapping[str, Any] | None = None
    ) -> Promotion:
        """Back to what `name` stood for before the promotion that holds now.

        Again goes one further back. Raises: NotFound where there is nothing before it.
        """
        with self._database.write() as connection:
            past = self._past(connection, name)
            standing = _standing(past)
            if len(standing) < 2:
                raise NotFound(
                    f"there is nothing that {name!r} stood for before",
                    value=name,
                    expected="two promotions that were not rolled back",
                    found=str(len(standing)),
                )
            before = standing[-2].model
            return _added(connection, past, (name, owner, "rolled_back", before), evidence or {})

    def current(self, name: str) -> Promotion | None:
        """The decision that holds; None for a name that was never given."""
        query = sa.select(table).where(table.c.name == name)
        with self._database.read() as connection:
            row = connection.execute(query.order_by(table.c.seq.desc()).limit(1)).mappings().first()
        return None if row is None else _promotion(row)

    def all_current(self) -> dict[str, Promotion]:
        """The decision that holds for each name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.seq)).mappings().all()
        return {row["name"]: _promotion(row) for row in rows}

    def history(self, name: str) -> list[Promotion]:
        """Every decision about a name, the oldest first."""
        with self._database.read() as connection:
            return _decisions(connection, name)

    def _past(self, connection: Connection, name: str) -> list[Promotion]:
        if not self._database.is_sqlite:  # whose transaction holds the only write lock
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        return _decisions(connection, name)


def _decisions(connection: Connection, name: str) -> list[Promotion]:
    query = sa.select(table).where(table.c.name == name).order_by(table.c.seq)
    return [_promotion(row) for row in connection.execute(query).mappings()]


def _standing(past: Sequence[Promotion]) -> list[Promotion]:
    """The promotions that were not rolled back; the last one holds."""
    standing: list[Promotion] = []
    for decision in past:
        if decision.action == "promoted":
            standing.append(decision)
        else:
            standing.pop()
    return standing


def _added(
    connection: Connection,
    past: Sequence[Promotion],
    decision: tuple[str, str, str, str],
    evidence: Mapping[str, Any],
) -> Promotion:
    name, owner, action, model = decision
    row = {
        "name": name,
        "seq": len(past) + 1,
        "owner": owner,
        "action": action,
        "model": model,
        "evidence": json.dumps(evidence, allow_nan=False),
        "created_at": time.time(),
    }
    connection.execute(sa.insert(table), [row])
    return _promotion(row)


def _promotion(row: RowMapping | dict[str, Any]) -> Promotion:
    return Promotion(**{**row, "evidence": json.loads(row["evidence"])})
