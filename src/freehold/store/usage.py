"""Usage: tokens and requests per key, model and day; summed in memory, written in batches.

Room: store. Knows counts only; must not know what was asked or answered.
"""

from __future__ import annotations

import datetime
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from freehold.store.schema import usage as table

if TYPE_CHECKING:
    from freehold.store.database import Database

__all__ = ["Usage", "UsageTotal"]

_COUNTS = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens")


@dataclass(frozen=True, kw_only=True)
class UsageTotal:
    """What one key used of one model. `cached_tokens` are part of the prompt's."""

    key_id: str
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


class Usage:
    """The usage of one database. Safe to use from many threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._waiting: dict[tuple[str, str, str], list[int]] = {}

    def add(
        self,
        key_id: str,
        model: str,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int = 0,
    ) -> None:
        """Count one finished request. Does not touch the database: `flush` does."""
        day = _today().isoformat()
        counts = (1, prompt_tokens, completion_tokens, cached_tokens)
        with self._lock:
            self._sum((key_id, model, day), counts)

    def flush(self) -> None:
        """Write down what was counted; what cannot be written is kept. Raises: StoreUnusable."""
        with self._flushing:
            with self._lock:
                taken, self._waiting = self._waiting, {}
            if not taken:
                return
            try:
                self._write(taken)
            except BaseException:
                with self._lock:
                    for place, counts in taken.items():
                        self._sum(place, counts)
                raise

    def totals(
        self, *, key_id: str | None = None, since: datetime.date | None = None
    ) -> list[UsageTotal]:
        """Sums per key and model, of one key or all, from a day (UTC) on. Raises: StoreUnusable."""
        sums = [sa.func.sum(table.c[name]).label(name) for name in _COUNTS]
        place = (table.c.key_id, table.c.model)
        query = sa.select(*place, *sums).group_by(*place).order_by(*place)
        if key_id is not None:
            query = query.where(table.c.key_id == key_id)
        if since is not None:
            query = query.where(table.c.day >= since.isoformat())
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            UsageTotal(
                key_id=row["key_id"],
                model=row["model"],
                requests=int(row["requests"]),
                prompt_tokens=int(row["prompt_tokens"]),
                completion_tokens=int(row["completion_tokens"]),
                cached_tokens=int(row["cached_tokens"]),
            )
            for row in rows
        ]

    def _sum(self, place: tuple[str, str, str], counts: tuple[int, ...] | list[int]) -> None:
        before = self._waiting.get(place, [0] * len(_COUNTS))
        self._waiting[place] = [a + b for a, b in zip(before, counts, strict=True)]

    def _write(self, taken: dict[tuple[str, str, str], list[int]]) -> None:
        rows = [
            {"key_id": key_id, "model": model, "day": day} | dict(zip(_COUNTS, counts, strict=True))
            for (key_id, model, day), counts in sorted(taken.items())
        ]
        statement = self._database.insert(table)
        summed = {name: table.c[name] + statement.excluded[name] for name in _COUNTS}
        statement = statement.on_conflict_do_update(
            index_elements=["key_id", "model", "day"], set_=summed
        )
        with self._database.write() as connection:
            connection.execute(statement, rows)


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()
