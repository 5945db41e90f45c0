"""An inbox gives its one reader everything, in order, as soon as it is there."""

from __future__ import annotations

import asyncio

import pytest

from freehold.engine.inbox import Inbox


def test_items_come_in_order_one_by_one_or_all_together() -> None:
    async def run() -> None:
        inbox: Inbox[int] = Inbox()
        for item in range(5):
            inbox.put(item)
        assert await inbox.next() == 0
        assert await inbox.all() == [1, 2, 3, 4]
        inbox.put(5)
        assert await inbox.all() == [5]

    asyncio.run(run())


def test_a_waiting_reader_is_woken_once_for_what_came_together() -> None:
    async def run() -> None:
        inbox: Inbox[str] = Inbox()
        reading = asyncio.create_task(inbox.all())
        await asyncio.sleep(0)
        assert not reading.done()
        inbox.put("a")
        inbox.put("b")
        assert await reading == ["a", "b"]

    asyncio.run(run())


def test_a_reader_who_gave_up_takes_nothing_with_it() -> None:
    async def run() -> None:
        inbox: Inbox[str] = Inbox()
        reading = asyncio.create_task(inbox.next())
        await asyncio.sleep(0)
        reading.cancel()
        inbox.put("a")  # before the cancelled reader has run
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await inbox.next() == "a"

    asyncio.run(run())
