"""Streams: frames at once, a sign of life in between, and an end that is always clean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from freehold.errors import EngineDied, FreeholdError
from freehold.server import streams
from freehold.server.streams import NDJSON, SSE, stream


def on_error(error: FreeholdError) -> str:
    return f"data: {error.code}\n\n"


async def sent(frames: AsyncGenerator[str, None], media_type: str = SSE) -> list[str]:
    response = stream(frames, on_error=on_error, media_type=media_type)
    return [str(chunk) async for chunk in response.body_iterator]


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
def test_every_frame_is_sent_in_order(media_type: str) -> None:
    async def frames() -> AsyncGenerator[str, None]:
        for i in range(50):
            if i % 7 == 0:
                await asyncio.sleep(0)
            yield f"{i};"

    assert "".join(asyncio.run(sent(frames(), media_type))) == "".join(f"{i};" for i in range(50))


def test_a_frame_does_not_wait_for_the_next() -> None:
    async def run() -> None:
        more = asyncio.Event()

        async def frames() -> AsyncGenerator[str, None]:
            yield "first"
            await more.wait()
            yield "second"

        body = stream(frames(), on_error=on_error).body_iterator
        assert await anext(body) == "first"
        more.set()
        assert [chunk async for chunk in body] == ["second"]

    asyncio.run(run())


def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_S", 0.01)

    async def frames() -> AsyncGenerator[str, None]:
        yield "a"
        await asyncio.sleep(0.05)
        yield "b"

    chunks = asyncio.run(sent(frames()))
    assert chunks[0] == "a"
    assert chunks[-1] == "b"
    assert set(chunks[1:-1]) == {": ping\n\n"}


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
def test_an_error_of_ours_is_the_last_frame(media_type: str) -> None:
    async def frames() -> AsyncGenerator[str, None]:
        yield "a"
        raise EngineDied("gone")

    assert "".join(asyncio.run(sent(frames(), media_type))) == "adata: capacity.engine_died\n\n"


def test_a_bug_is_not_swallowed() -> None:
    async def frames() -> AsyncGenerator[str, None]:
        yield "a"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(sent(frames()))


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
def test_a_reader_who_leaves_closes_the_frames(media_type: str) -> None:
    closed: list[bool] = []

    async def frames() -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "a"
                await asyncio.sleep(0)
        finally:
            closed.append(True)

    async def run() -> None:
        body = stream(frames(), on_error=on_error, media_type=media_type).body_iterator
        assert await anext(body)
        await body.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())
    assert closed == [True]
