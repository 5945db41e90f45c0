"""Work stops when the client for whom it is done has left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from freehold.errors import EngineDied
from freehold.server.presence import unless_gone


def request(*, leaves_after_s: float) -> Request:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(leaves_after_s)
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


def test_the_result_comes_back_while_the_client_is_there() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert asyncio.run(unless_gone(request(leaves_after_s=60), work())) == "done"


def test_work_is_cancelled_when_the_client_leaves() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    assert asyncio.run(unless_gone(request(leaves_after_s=0.01), work())) is None
    assert ended == ["cancelled"]


def test_work_for_a_client_that_is_gone_already_is_begun_and_ended() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    asyncio.run(unless_gone(request(leaves_after_s=0), work()))
    assert ended == ["cancelled"]


def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise EngineDied("it ended")

    with pytest.raises(EngineDied):
        asyncio.run(unless_gone(request(leaves_after_s=60), work()))
