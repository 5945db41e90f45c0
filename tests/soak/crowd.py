"""Many visitors at once, for a while; and the streams that see their engine die.

Must not know how the server was started.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from tests.soak.behaviours import (
    BEHAVIOURS,
    ENDLESS,
    SURFACES,
    Behaviour,
    Refused,
    Visitor,
    ends_well,
    long_stream,
)
from tests.soak.serving import Serving

__all__ = ["Killed", "Tally", "crowd", "drained", "kill"]

_PATIENCE_S = 90.0  # a visit that takes longer hangs
_LONG_TOKENS = 1500


@dataclass
class Tally:
    """How often each behaviour was seen, and what went wrong."""

    visits: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Killed:
    """What one death of the engine was like from outside. Units: seconds from the kill."""

    streams_ended_s: float
    answered_s: float
    refused_first: int


def _client(server: Serving) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
    return httpx.AsyncClient(base_url=server.url, timeout=_PATIENCE_S, limits=limits)


async def crowd(server: Serving, *, clients: int, seconds: float, seed: int) -> Tally:
    """So many clients, one visit after the other, each of a kind drawn by its weight."""
    tally = Tally()
    ends = time.monotonic() + seconds

    async def visits(number: int, http: httpx.AsyncClient) -> None:
        visitor = Visitor(http, server.url, server.model, random.Random(seed * 1000 + number))
        kinds, weights = list(BEHAVIOURS), list(BEHAVIOURS.values())
        while time.monotonic() < ends:
            (behaviour,) = visitor.rng.choices(kinds, weights)
            await _visit(behaviour, visitor, tally)

    async with _client(server) as http:
        await asyncio.gather(*(visits(number, http) for number in range(clients)))
    return tally


async def _visit(behaviour: Behaviour, visitor: Visitor, tally: Tally) -> None:
    name = behaviour.__name__
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await behaviour(visitor)
        tally.visits[name] += 1
    except Refused:
        tally.refused += 1
    except (AssertionError, TimeoutError, httpx.HTTPError, OSError, ValueError) as fault:
        tally.faults.append(f"{name}: {type(fault).__name__} {fault}"[:500])


async def kill(server: Serving, *, streams: int, back_s: float, seed: int) -> Killed:
    """Kills the engine while streams run. Raises: AssertionError, TimeoutError."""
    async with _client(server) as http:
        begun = [asyncio.Event() for _ in range(streams)]
        running = [
            asyncio.create_task(
                _broken_off(Visitor(http, server.url, server.model, random.Random(seed + i)), i, e)
            )
            for i, e in enumerate(begun)
        ]
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.gather(*(event.wait() for event in begun))
            engine = server.engine_pid()
            assert engine is not None, "there is no engine to kill"
            os.kill(engine, signal.SIGKILL)
            killed = time.monotonic()
            asking = asyncio.create_task(_answered(http, server, killed, back_s))
            async with asyncio.timeout(back_s):
                ends = await asyncio.gather(*running)
            _check_told([told for _, told in ends])
            answered_s, refused = await asking
            assert server.engine_pid() != engine, "the killed engine still runs"
            return Killed(max(end for end, _ in ends) - killed, answered_s, refused)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _check_told(told: list[bool]) -> None:
    """Holds that streams were told of the engine's death, where it found them under way.

    Four surfaces cannot forbid the model to end its answer: some of theirs end by themselves.
    """
    sure = [told[i] for i in range(len(told)) if SURFACES[i % len(SURFACES)] in ENDLESS]
    assert all(sure), f"only {sum(sure)} of {len(sure)} endless streams were told of the end"
    assert sum(told) >= 0.6 * len(told), f"only {sum(told)} of {len(told)} streams were told"


async def _broken_off(visitor: Visitor, number: int, begun: asyncio.Event) -> tuple[float, bool]:
    """A stream that ends well or with its surface's error; when, and whether with the error."""
    path = SURFACES[number % len(SURFACES)]
    lines = []
    async for line in visitor.lines(path, long_stream(visitor, path, tokens=_LONG_TOKENS)):
        lines.append(line)
        if len(lines) > 8:
            begun.set()
    begun.set()  # an answer may be shorter than that
    assert lines, f"{path} ended without a word"
    told = '"error"' in lines[-1]
    assert told or ends_well(path, lines), f"{path} ended with {lines[-1][:300]}"
    return time.monotonic(), told


async def _answered(
    http: httpx.AsyncClient, server: Serving, killed: float, within_s: float
) -> tuple[float, int]:
    """Until a chat is answered again, as a client that honours 503 asks; how often it had to."""
    body = {"model": server.model, "messages": [{"role": "user", "content": "Hello"}]}
    refused = 0
    while True:
        reply = await http.post("/v1/chat/completions", json=body | {"max_tokens": 2})
        answered_s = time.monotonic() - killed
        assert answered_s < within_s, f"no answer within {answered_s:.1f} s"
        if reply.status_code == 200:
            return answered_s, refused
        assert reply.status_code == 503, f"{reply.status_code} {reply.text[:300]}"
        assert int(reply.headers["retry-after"]) >= 1
        refused += 1
        await asyncio.sleep(0.1)


async def drained(server: Serving, *, streams: int, seed: int) -> int:
    """Ends the server while streams run; how many of them came to their own end.

    Raises: AssertionError when one breaks off without a word, or a newcomer is not told why.
    """
    async with _client(server) as http:
        begun = [asyncio.Event() for _ in range(streams)]
        visitors = [
            Visitor(http, server.url, server.model, random.Random(seed + i)) for i in range(streams)
        ]
        tokens = [20 if i % 2 else _LONG_TOKENS for i in range(streams)]
        running = [
            asyncio.create_task(_last_words(visitor, number, event))
            for visitor, number, event in zip(visitors, tokens, begun, strict=True)
        ]
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.gather(*(event.wait() for event in begun))
            server.process.terminate()
            async with asyncio.timeout(_PATIENCE_S):
                while (await http.get("/health")).status_code == 200:
                    await asyncio.sleep(0.05)
            reply = await http.post("/v1/chat/completions", json=visitors[0].asked())
            assert reply.status_code == 503, reply.status_code
            assert "retry-after" in reply.headers
            ends = await asyncio.gather(*running)
    assert await asyncio.to_thread(server.process.wait, _PATIENCE_S) == 0
    return ends.count("[DONE]")


async def _last_words(visitor: Visitor, tokens: int, begun: asyncio.Event) -> str:
    path = SURFACES[0]
    last = ""
    async for line in visitor.lines(path, long_stream(visitor, path, tokens=tokens)):
        last = line
        begun.set()
    assert last == "data: [DONE]" or "capacity.draining" in last, last[:300]
    return last.removeprefix("data: ")
