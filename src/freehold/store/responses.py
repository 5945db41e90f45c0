"""Stored responses: each belongs to its owner, and what is deleted is gone.

Room: store. Every query names the owner, so a forgotten check elsewhere cannot show one owner's
text to another. Must not know what a request means or who may ask.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.store.schema import responses

if TYPE_CHECKING:
    from freehold.store.database import Database

__all__ = ["Responses", "StoredResponse"]


@dataclass(frozen=True, kw_only=True)
class StoredResponse:
    """One turn: the items that came in with it, and the whole response as its client got it.

    Units: `created_at` in seconds since 1970. `previous_id` is the turn before, which may have been
    deleted since.
    """

    id: str
    owner: str
    created_at: float
    model: str
    previous_id: str | None
    input: list[dict[str, Any]]
    output: dict[str, Any]


class Responses:
    """The stored responses of all owners, seen one owner at a time. Calls block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, response: StoredResponse) -> None:
        """Keep a response. Raises: StoreUnusable, also when its id is taken."""
        row = {
            "id": response.id,
            "owner": response.owner,
            "created_at": response.created_at,
            "model": response.model,
            "previous_id": response.previous_id,
            # Escaped to ASCII: PostgreSQL refuses a NUL and a lone surrogate in a text.
            "input": json.dumps(response.input),
            "output": json.dumps(response.output),
        }
        with self._database.write() as connection:
            connection.execute(sa.insert(responses), row)

    def get(self, response_id: str, *, owner: str) -> StoredResponse | None:
        """The owner's response with this id, if there is one. Raises: StoreUnusable."""
        query = sa.select(responses).where(*_own(response_id, owner))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _stored(row)

    def conversation(self, response_id: str, *, owner: str) -> list[StoredResponse]:
        """The response and the turns before it, oldest first; empty if the owner has no such one.

        If an earlier turn was deleted, the list begins after it: its first entry then still has a
        `previous_id`. Raises: StoreUnusable.
        """
        turns = (
            sa.select(responses, sa.literal(0).label("back"))
            .where(*_own(response_id, owner))
            .cte("turns", recursive=True)
        )
        before = sa.select(responses, turns.c.back + 1).where(
            responses.c.id == turns.c.previous_id, responses.c.owner == owner
        )
        turns = turns.union_all(before)
        query = sa.select(turns).order_by(turns.c.back.desc())
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [_stored(row) for row in rows]

    def delete(self, response_id: str, *, owner: str) -> bool:
        """Forget the owner's response for good; False if there was none. Raises: StoreUnusable."""
        query = sa.delete(responses).where(*_own(response_id, owner))
        with self._database.write() as connection:
            return connection.execute(query).rowcount > 0


def _own(response_id: str, owner: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (responses.c.id == response_id, responses.c.owner == owner)


def _stored(row: sa.Row[Any]) -> StoredResponse:
    return StoredResponse(
        id=row.id,
        owner=row.owner,
        created_at=row.created_at,
        model=row.model,
        previous_id=row.previous_id,
        input=json.loads(row.input),
        output=json.loads(row.output),
    )
