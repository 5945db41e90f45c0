"""Streaming responses: frames as they come, a sign of life, a clear last word on errors.

Room: server. Knows bytes and time; the surface gives the frames and the form of its error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from starlette.responses import StreamingResponse

from freehold.errors import FreeholdError

__all__ = ["NDJSON", "SSE", "stream"]

SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
PING_S = 15.0
_PING = ": ping\n\n"


def stream(
    frames: AsyncGenerator[str, None],
    *,
    on_error: Callable[[FreeholdError], str],
    media_type: str = SSE,
) -> StreamingResponse:
    """A response that sends each frame at once.

    A FreeholdError on the way becomes the frame `on_error` makes of it, and the stream ends. When
    the client leaves, `frames` is closed, so whatever it does in `finally` runs.
    """
    body = _guarded(frames, on_error)
    if media_type == SSE:
        body = _with_pings(body)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(body, media_type=media_type, headers=headers)


async def _guarded(
    frames: AsyncGenerator[str, None], on_error: Callable[[FreeholdError], str]
) -> AsyncGenerator[str, None]:
    try:
        async for frame in frames:
            yield frame
    except FreeholdError as error:
        yield on_error(error)
    finally:
        await frames.aclose()


async def _with_pings(frames: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The frames, those that are there together as one, and a comment when none came for a while.

    One task reads ahead; a task and a timer for each frame would cost more than making it.
    """
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    reading = asyncio.create_task(_read_into(queue, frames))
    try:
        while True:
            ready = [queue.get_nowait() for _ in range(queue.qsize())] or [await _or_ping(queue)]
            if text := "".join(frame for frame in ready if frame is not None):
                yield text
            if ready[-1] is None:
                await reading  # raises what ended the frames early
                return
    finally:
        reading.cancel()
        await asyncio.wait({reading})


async def _or_ping(queue: asyncio.Queue[str | None]) -> str | None:
    try:
        async with asyncio.timeout(PING_S):
            return await queue.get()
    except TimeoutError:
        return _PING


async def _read_into(queue: asyncio.Queue[str | None], frames: AsyncGenerator[str, None]) -> None:
    """Passes the frames on, and None when there are no more."""
    try:
        async for frame in frames:
            queue.put_nowait(frame)
    finally:
        queue.put_nowait(None)
        await frames.aclose()
