"""Data sets that may be trained on: whose they are, what is in them, and why they may be used.

Room: store. Every query names the owner, but for the one that asks what a withdrawn set taught.
Must not know the forms of data or where their bytes lie.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.errors import BadRequest
from freehold.store.schema import datasets as table

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

    from freehold.store.database import Database

__all__ = ["BASES", "Dataset", "Datasets"]

# Why data may be trained on; `consent` needs a reference to it.
BASES = ("consent", "contract", "own", "public", "legitimate-interest")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What is recorded of a data set. Units: times in seconds since 1970.

    `digest` is "sha256:" and 64 digits of its bytes; `tokens` None: not counted; `facts` holds
    whatever else is to be kept of it as JSON.
    """

    owner: str
    name: str
    digest: str
    rows: int
    tokens: int | None
    form: str
    licence: str
    basis: str
    consent: str | None
    provenance: str
    created_at: float
    withdrawn_at: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Datasets:
    """The data sets of all owners, seen one owner at a time. Calls block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, dataset: Dataset) -> None:
        """Record a new data set. Raises: BadRequest for a name or basis that cannot be."""
        if dataset.basis not in BASES:
            raise BadRequest(
                "nothing says why this data may be trained on",
                param="basis",
                value=dataset.basis,
                expected=", ".join(BASES),
                found=repr(dataset.basis),
            )
        row = {**vars(dataset), "facts": json.dumps(dict(dataset.facts), allow_nan=False)}
        with self._database.write() as connection:
            taken = sa.select(table.c.name).where(*_own(dataset.name, dataset.owner))
            if connection.execute(taken).first() is not None:
                raise BadRequest(
                    f"a data set is called {dataset.name!r} already",
                    param="name",
                    value=dataset.name,
                    hint="take another name; a set's data never changes",
                )
            connection.execute(sa.insert(table), [row])

    def get(self, name: str, *, owner: str) -> Dataset | None:
        """The owner's data set of this name, withdrawn or not."""
        query = sa.select(table).where(*_own(name, owner))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _dataset(row)

    def find(self, digest: str, *, owner: str) -> list[Dataset]:
        """The owner's data sets with these very bytes, under whatever names."""
        query = sa.select(table).where(table.c.digest == digest, table.c.owner == owner)
        with self._database.read() as connection:
            return [_dataset(row) for row in connection.execute(query).mappings()]

    def list(self, *, owner: str) -> list[Dataset]:
        """The owner's data sets, the oldest first."""
        query = sa.select(table).where(table.c.owner == owner)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.created_at, table.c.name)).mappings()
            return [_dataset(row) for row in rows]

    def withdraw(self, name: str, *, owner: str) -> Dataset | None:
        """From now on nothing may be trained on it; None where there is no such set.

        A second time changes nothing. Raises: StoreUnusable.
        """
        query = (
            sa.update(table)
            .where(*_own(name, owner), table.c.withdrawn_at.is_(None))
            .values(withdrawn_at=time.time())
        )
        with self._database.write() as connection:
            connection.execute(query)
        return self.get(name, owner=owner)

    def is_withdrawn(self, digest: str) -> bool:
        """Whether anybody's set with these very bytes was withdrawn: for whoever trains."""
        query = sa.select(table.c.name).where(
            table.c.digest == digest, table.c.withdrawn_at.is_not(None)
        )
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def delete(self, name: str, *, owner: str) -> bool:
        """Forget the owner's data set; False if there was none."""
        with self._database.write() as connection:
            return connection.execute(sa.delete(table).where(*_own(name, owner))).rowcount > 0


def _own(name: str, owner: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.name == name, table.c.owner == owner)


def _dataset(row: RowMapping) -> Dataset:
    return Dataset(**{**row, "facts": json.loads(row["facts"])})
