"""The keys, as the doors see them: all in memory, read again every two seconds.

Room: server. A request never waits for the database unless it is the first in two seconds or shows
a secret that is not known; those share five readings a second, however many there are. So a revoked
key ends within two seconds, and a new one counts at once. What cannot be read again is not believed
any longer: the doors then let nobody in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from freehold.store import find_among

if TYPE_CHECKING:
    from freehold.store import KeyRecord, Keys

__all__ = ["FRESH_S", "Keyring"]

FRESH_S = 2.0
_UNKNOWN_S = 0.2


class Keyring:
    """Every key by the digest of its secret."""

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._records: Mapping[str, KeyRecord] = {}
        self._read_at = -FRESH_S
        self._reading = asyncio.Lock()

    async def is_empty(self) -> bool:
        """Whether no key was ever made. Raises: StoreUnusable."""
        await self._read_if_older(FRESH_S)
        return not self._records

    async def find(self, secret: str) -> KeyRecord | None:
        """The key with this secret, valid or not. Raises: StoreUnusable."""
        asked_at = self._clock()
        await self._read_if_older(FRESH_S)
        record = find_among(self._records, secret)
        if record is None and self._read_at < asked_at:
            # It may be new. The wait also slows down whoever only tries.
            await asyncio.sleep(self._read_at + _UNKNOWN_S - asked_at)
            await self._read_if_older(_UNKNOWN_S)
            record = find_among(self._records, secret)
        return record

    async def _read_if_older(self, age_s: float) -> None:
        async with self._reading:
            if self._clock() - self._read_at >= age_s:
                # The time before the query: what changes during it is seen the next time.
                started = self._clock()
                self._records = await asyncio.to_thread(self._keys.by_digest)
                self._read_at = started
