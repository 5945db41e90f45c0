"""Streams: frames at once, a sign of life in between, and an end that is always clean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from freehold.errors import EngineDied, FreeholdError
from freehold.server import streams
from freehold.server.streams import NDJSON, SSE, FrameStream, stream
from tests.server.jumping_clock import run as run_in_no_time


def on_error(error: FreeholdError) -> str:
    return f"data: {error.code}\n\n"


async def serve(response: FrameStream, sent: list[str], *, lost_after: int | None = None) -> None:
    """Runs a response as a server does; after `lost_after` sends the client is gone."""
    sends = 0

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal sends
        sends += 1
        if lost_after is not None and sends > lost_after:
            raise OSError("the client left")
        if message.get("body"):
            sent.append(message["body"].decode())

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    scope = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": "2.4"}}
    await response(scope, receive, send)


def sent_by(frames: AsyncGenerator[str, None], media_type: str = SSE) -> list[str]:
    sent: list[str] = []

    async def run() -> None:
        await serve(stream(frames, on_error=on_error, media_type=media_type), sent)

    asyncio.run(run())
    return sent


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
def test_every_frame_is_sent_in_order(media_type: str) -> None:
    async def frames() -> AsyncGenerator[str, None]:
        for i in range(50):
            if i % 7 == 0:
                await asyncio.sleep(0)
            yield f"{i};"

    assert "".join(sent_by(frames(), media_type)) == "".join(f"{i};" for i in range(50))


def test_a_frame_does_not_wait_for_the_next() -> None:
    async def run() -> None:
        more = asyncio.Event()
        sent: list[str] = []

        async def frames() -> AsyncGenerator[str, None]:
            yield "first"
            await more.wait()
            yield "second"

        serving = asyncio.create_task(serve(stream(frames(), on_error=on_error), sent))
        for _ in range(20):
            await asyncio.sleep(0)
        assert sent == ["first"]
        more.set()
        await serving
        assert sent == ["first", "second"]

    asyncio.run(run())


def test_silence_is_filled_with_comments() -> None:
    async def frames() -> AsyncGenerator[str, None]:
        yield "a"
        await asyncio.sleep(3.5 * streams.PING_S)
        yield "b"

    sent: list[str] = []
    run_in_no_time(serve(stream(frames(), on_error=on_error), sent))
    assert sent == ["a", *[": ping\n\n"] * 3, "b"]


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
def test_an_error_of_ours_is_the_last_frame(media_type: str) -> None:
    async def frames() -> AsyncGenerator[str, None]:
        yield "a"
        raise EngineDied("gone")

    assert "".join(sent_by(frames(), media_type)) == "adata: capacity.engine_died\n\n"


def test_a_bug_is_not_swallowed() -> None:
    async def frames() -> AsyncGenerator[str, None]:
        yield "a"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sent_by(frames())


@pytest.mark.parametrize("lost_after", [0, 1, 2, 5])
@pytest.mark.parametrize("media_type", [SSE, NDJSON])
def test_a_reader_who_leaves_closes_the_frames(media_type: str, lost_after: int) -> None:
    """Before the headers, before the first frame, or later."""
    closed: list[bool] = []

    async def frames() -> AsyncGenerator[str, None]:
        try:
            while True:
                await asyncio.sleep(0)
                yield "a"
        finally:
            closed.append(True)

    async def run() -> None:
        response = stream(frames(), on_error=on_error, media_type=media_type)
        with pytest.raises((OSError, ClientDisconnect)):
            await serve(response, [], lost_after=lost_after)

    asyncio.run(run())
    assert closed == [True]
