"""Streaming responses: frames as they come, a sign of life, a clear last word on errors.

Room: server. Knows bytes and time; the surface gives the frames and the form of its error.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from freehold.engine.inbox import Inbox
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
    return FrameStream(frames, on_error, media_type)


class FrameStream(StreamingResponse):
    """Reads ahead with one task; a task and a timer for each frame would cost more than making it.

    Frames that are there together are sent as one.
    """

    def __init__(
        self,
        frames: AsyncGenerator[str, None],
        on_error: Callable[[FreeholdError], str],
        media_type: str,
    ) -> None:
        super().__init__(frames, media_type=media_type, headers=_HEADERS)
        self._frames = frames
        self._on_error = on_error
        self._inbox: Inbox[str | None] = Inbox()
        self._pings = media_type == SSE
        self._waits_since = math.inf
        self._alarm: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the frames, and closes them however that ends."""
        self._reading = asyncio.create_task(self._read())
        try:
            # The frames must have begun: a generator that never did runs no `finally`.
            await asyncio.sleep(0)
            await super().__call__(scope, receive, send)
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def stream_response(self, send: Send) -> None:
        """Sends what is there, again and again."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        clock = asyncio.get_running_loop().time
        if self._pings:
            self._keep_alive()
        ended = False
        while not ended:
            self._waits_since = clock()
            ready = await self._inbox.all()
            self._waits_since = math.inf
            if ended := ready[-1] is None:
                ready.pop()
            if text := "".join(filter(None, ready)):
                body = text.encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await self._reading  # raises what ended the frames early
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _keep_alive(self) -> None:
        """Puts in a sign of life when no frame has come for a while, and looks again later."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._waits_since >= PING_S:
            self._inbox.put(_PING)
            self._waits_since = now
        silence_s = max(0.0, now - self._waits_since)  # none while a frame is being sent
        self._alarm = loop.call_later(PING_S - silence_s, self._keep_alive)

    async def _read(self) -> None:
        """Passes the frames on, and None when there are no more."""
        try:
            async for frame in self._frames:
                self._inbox.put(frame)
        except FreeholdError as error:
            self._inbox.put(self._on_error(error))
        finally:
            try:
                await self._frames.aclose()
            finally:
                self._inbox.put(None)
