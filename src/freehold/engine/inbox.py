"""What one task hands to another, in order.

Room: engine. Knows the event loop only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Inbox"]

T = TypeVar("T")


class Inbox(Generic[T]):
    """A queue without an end, for one reader on the loop's own thread.

    Every token of every stream passes through two of them, so it does less than `asyncio.Queue`.
    """

    __slots__ = ("_items", "_waiting")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def put(self, item: T) -> None:
        """Adds an item and wakes the reader."""
        self._items.append(item)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def next(self) -> T:
        """The first item; waits for one."""
        if not self._items:
            await self._any()
        return self._items.popleft()

    async def all(self) -> list[T]:
        """Every item that is there; waits for one."""
        if not self._items:
            await self._any()
        items = list(self._items)
        self._items.clear()
        return items

    async def _any(self) -> None:
        assert self._waiting is None, "an inbox has one reader"
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None
