"""Streaming responses: frames as they come, a sign of life, a clear last word on errors.

Room: server. Knows bytes and time; the surface gives the frames and the form of its error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from freehold.errors import FreeholdError

__all__ = ["NDJSON", "SSE", "FrameStream", "stream"]

SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
PING_S = 15.0
_PING = ": ping\n\n"
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def stream(
    frames: AsyncGenerator[str, None],
    *,
    on_error: Callable[[FreeholdError], str],
    media_type: str = SSE,
) -> FrameStream:
    """A response that sends each frame at once.

    A FreeholdError on the way becomes the frame `on_error` makes of it, and the stream ends. When
    the client leaves, even before the first frame, `frames` is closed and what it does in
    `finally` runs.
    """
    return FrameStream(_guarded(frames, on_error), media_type)


class FrameStream(StreamingResponse):
    """Reads ahead with one task; a task and a timer for each frame would cost more than making it.

    Frames that are there together are sent as one.
    """

    def __init__(self, frames: AsyncGenerator[str, None], media_type: str) -> None:
        self._frames = frames
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._pings = media_type == SSE
        self._reading: asyncio.Task[None] | None = None
        super().__init__(self._chunks(), media_type=media_type, headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the frames, and closes them however that ends."""
        self._reading = asyncio.create_task(self._read())
        try:
            # The frames must have begun: a generator that never did runs no `finally`.
            await asyncio.sleep(0)
            await super().__call__(scope, receive, send)
        finally:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def _chunks(self) -> AsyncGenerator[str, None]:
        queue = self._queue
        while True:
            ready = [queue.get_nowait() for _ in range(queue.qsize())] or [await self._next()]
            if text := "".join(frame for frame in ready if frame is not None):
                yield text
            if ready[-1] is None:
                assert self._reading is not None
                await self._reading  # raises what ended the frames early
                return

    async def _next(self) -> str | None:
        if not self._pings:
            return await self._queue.get()
        try:
            async with asyncio.timeout(PING_S):
                return await self._queue.get()
        except TimeoutError:
            return _PING

    async def _read(self) -> None:
        """Passes the frames on, and None when there are no more."""
        try:
            async for frame in self._frames:
                self._queue.put_nowait(frame)
        finally:
            self._queue.put_nowait(None)
            await self._frames.aclose()


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
