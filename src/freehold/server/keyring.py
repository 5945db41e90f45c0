"""The keys, as the doors see them: all in memory, read again every two seconds.

Room: server. A request never waits for the database unless it is the first in two seconds, and a
wrong secret costs no query at all. A key that is made or revoked counts within that time. What
cannot be read again is not believed any longer: the doors then let nobody in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freehold.store import KeyRecord, Keys

__all__ = ["Keyring"]

FRESH_S = 2.0


class Keyring:
    """Every key by the digest of its secret."""

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._records: Mapping[str, KeyRecord] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def records(self) -> Mapping[str, KeyRecord]:
        """The keys as they were at most two seconds ago. Raises: StoreUnusable."""
        if not self._is_fresh():
            async with self._reading:
                if not self._is_fresh():
                    # The time before the query: what changes during it is seen the next time.
                    started = self._clock()
                    self._records = await asyncio.to_thread(self._keys.by_digest)
                    self._read_at = started
        return self._records

    def _is_fresh(self) -> bool:
        return self._read_at is not None and self._clock() - self._read_at < FRESH_S
