"""Streaming responses: frames as they come, a sign of life, a clear last word on errors.

Room: server. Knows bytes and time; the surface gives the frames and the form of its error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

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
    """The frames, with a comment whenever nothing came for a while."""
    waiting: asyncio.Future[str] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(_next(frames))
            done, _ = await asyncio.wait({waiting}, timeout=PING_S)
            if not done:
                yield _PING
                continue
            try:
                frame = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield frame
    finally:
        if waiting is not None:
            waiting.cancel()
        await frames.aclose()


async def _next(frames: AsyncIterator[str]) -> str:
    return await anext(frames)
