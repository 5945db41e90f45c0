"""Several answers at once: whole, or event by event.

Room: server. Knows `Answer`; must not know any form. Every answer is closed at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from freehold.server.ask import Collected, Event

if TYPE_CHECKING:
    from freehold.server.answering import Answer

__all__ = ["collected", "merged"]


async def collected(answers: Sequence[Answer]) -> list[Collected]:
    """Every answer whole, in order.

    Raises: FreeholdError, the first one of any answer; the others are cancelled.
    """
    work = [asyncio.ensure_future(answer.collect()) for answer in answers]
    try:
        return await asyncio.gather(*work)
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for answer in answers:
            await answer.aclose()


async def merged(answers: Sequence[Answer]) -> AsyncGenerator[tuple[int, Event], None]:
    """(number of the answer, event) of all answers, as they come; closes them at the end.

    Raises: FreeholdError, the first one of any answer.
    """
    if len(answers) == 1:
        try:
            async for event in answers[0]:
                yield 0, event
        finally:
            await answers[0].aclose()
        return
    ready: asyncio.Queue[tuple[int, Event] | asyncio.Task[None]] = asyncio.Queue()

    async def pour(number: int) -> None:
        async for event in answers[number]:
            ready.put_nowait((number, event))

    tasks = [asyncio.create_task(pour(number)) for number in range(len(answers))]
    for task in tasks:
        task.add_done_callback(ready.put_nowait)
    try:
        unfinished = len(tasks)
        while unfinished:
            item = await ready.get()
            if isinstance(item, asyncio.Task):
                item.result()
                unfinished -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for answer in answers:
            await answer.aclose()
