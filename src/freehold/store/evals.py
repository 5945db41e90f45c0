"""Evaluations and the items of their runs; a run itself is a job whose `parent` is the evaluation.

Room: store. Every query of an asker names the owner. Must not know how an answer is scored.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.store.paging import after_row
from freehold.store.schema import eval_items, jobs
from freehold.store.schema import evals as table

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

    from freehold.store.database import Database

__all__ = ["Evals", "StoredEval"]


@dataclass(frozen=True, kw_only=True)
class StoredEval:
    """An evaluation: its data and its scorers, as they were asked for."""

    id: str
    owner: str
    name: str
    spec: dict[str, Any]
    created_at: float


class Evals:
    """The evaluations of all owners, seen one owner at a time. Calls block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, *, owner: str, name: str, spec: Mapping[str, Any]) -> StoredEval:
        """A new evaluation. Raises: StoreUnusable."""
        row = {
            "id": "eval_" + secrets.token_hex(16),
            "owner": owner,
            "name": name,
            "spec": json.dumps(spec, allow_nan=False),
            "created_at": time.time(),
        }
        with self._database.write() as connection:
            connection.execute(sa.insert(table), [row])
        return _eval(row)

    def get(self, eval_id: str, *, owner: str) -> StoredEval | None:
        """The owner's evaluation with this id, if there is one."""
        query = sa.select(table).where(*_own(eval_id, owner))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _eval(row)

    def list(
        self,
        *,
        owner: str,
        after: str | None = None,
        limit: int = 10_000,
        newest_first: bool = True,
    ) -> list[StoredEval]:
        """The owner's evaluations. Raises: NotFound for `after`."""
        query = sa.select(table).where(table.c.owner == owner)
        with self._database.read() as connection:
            paged = after_row(
                connection, table, query, after=after, owner=owner, newest_first=newest_first
            )
            rows = connection.execute(paged.limit(limit)).mappings().all()
        return [_eval(row) for row in rows]

    def update(
        self, eval_id: str, *, owner: str, name: str, spec: Mapping[str, Any]
    ) -> StoredEval | None:
        """Another name and other particulars; None where the owner has no such one."""
        change = {"name": name, "spec": json.dumps(spec, allow_nan=False)}
        with self._database.write() as connection:
            query = sa.update(table).where(*_own(eval_id, owner)).values(**change)
            if not connection.execute(query).rowcount:
                return None
        return self.get(eval_id, owner=owner)

    def delete(self, eval_id: str, *, owner: str) -> bool:
        """Forget the owner's evaluation. Its runs are jobs of their own. False if none was."""
        with self._database.write() as connection:
            return connection.execute(sa.delete(table).where(*_own(eval_id, owner))).rowcount > 0

    def put_item(self, run_id: str, number: int, item: Mapping[str, Any]) -> None:
        """Keep the outcome of one item; a second time takes the place of the first."""
        row = {"run_id": run_id, "number": number, "item": json.dumps(item, allow_nan=False)}
        statement = self._database.insert(eval_items).values(row)
        statement = statement.on_conflict_do_update(
            index_elements=["run_id", "number"], set_={"item": statement.excluded.item}
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def forget_items(self, run_id: str) -> None:
        """Delete the items of a run, whose outcome is kept elsewhere by now."""
        query = sa.delete(eval_items).where(eval_items.c.run_id == run_id)
        with self._database.write() as connection:
            connection.execute(query)

    def items(
        self, run_id: str, *, owner: str, after: int = -1, limit: int = 1_000_000
    ) -> tuple[tuple[int, dict[str, Any]], ...]:
        """The items of the owner's run by number, those above `after`."""
        number = eval_items.c.number
        query = (
            sa.select(number, eval_items.c.item)
            .join(jobs, jobs.c.id == eval_items.c.run_id)
            .where(eval_items.c.run_id == run_id, jobs.c.owner == owner, number > after)
            .order_by(number)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple((int(number), json.loads(item)) for number, item in rows)


def _own(eval_id: str, owner: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.id == eval_id, table.c.owner == owner)


def _eval(row: RowMapping | dict[str, Any]) -> StoredEval:
    return StoredEval(**{**row, "spec": json.loads(row["spec"])})
