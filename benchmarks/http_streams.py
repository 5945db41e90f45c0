"""Many streaming chats over HTTP at once, from one light process.

Room: benchmarks. Raw sockets, so that the client costs both servers the same few cycles: while
streams run it only notes what came when, and reads it afterwards. Must not know which server it
asks.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from typing import Any

from benchmarks.workers import serve

_END = b"[DONE]"
_TIME_OUT_S = 80.0


class Stream(asyncio.Protocol):
    """One request on a connection of its own, and the pieces of its answer with their times."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.sent_s = 0.0
        self.pieces: list[tuple[float, bytes]] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tail = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self) -> None:
        """Ask now."""
        assert isinstance(self._transport, asyncio.WriteTransport)
        self.sent_s = time.perf_counter()
        self._transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.perf_counter(), data))
        end = self._tail + data[-16:]
        self._tail = end[-16:]
        if (_END in end or _END in data) and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.done.done():
            self.done.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def http_request(host: str, port: int, body: dict[str, Any]) -> bytes:
    """A chat request as bytes."""
    text = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


def report(stream: Stream) -> dict[str, Any]:
    """What a stream brought. Units: seconds from the request's first byte.

    Raises: RuntimeError when the answer is not a whole stream of events.
    """
    events = _events(stream.pieces)
    times, text, usage = [], [], None
    for when, data in events:
        if data == _END:
            break
        event = json.loads(data)
        if "error" in event:
            raise RuntimeError(f"a stream ended with {event['error']}")
        usage = event.get("usage") or usage
        pieces = [c["delta"].get("content") for c in event.get("choices", ()) if c.get("delta")]
        if any(pieces):
            times.append(when - stream.sent_s)
            text += [piece for piece in pieces if piece]
    if usage is None or not times:
        raise RuntimeError("a stream ended without text or usage")
    return {
        "times_s": times,
        "end_s": stream.pieces[-1][0] - stream.sent_s,
        "prompt_tokens": usage["prompt_tokens"],
        "tokens": usage["completion_tokens"],
        "cached_tokens": (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        "text": "".join(text),
    }


def _events(pieces: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """The data of each event with the time when its last byte came."""
    head, separator, rest = b"".join(data for _, data in pieces).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or not separator:
        raise RuntimeError(f"not an answer: {head[:200]!r} {rest[:500]!r}")
    if b"transfer-encoding: chunked" not in head.lower():
        raise RuntimeError("a stream is expected in chunks")
    ends: list[tuple[int, float]] = []  # bytes received by then
    total = 0
    for when, data in pieces:
        total += len(data)
        ends.append((total, when))
    events, text, at, arrival = [], b"", len(head) + 4, iter(ends)
    whole = head + separator + rest
    received, when = next(arrival)
    while at < len(whole):
        line = whole.index(b"\r\n", at)
        size = int(whole[at:line], 16)
        if size == 0:
            break
        at = line + 2 + size + 2
        while received < at - 2:
            received, when = next(arrival)
        text += whole[line + 2 : line + 2 + size]
        *complete, text = text.split(b"\n\n")
        events += [(when, e[6:]) for e in complete if e.startswith(b"data: ")]
    return events


async def _together(host: str, port: int, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    streams = [Stream(http_request(host, port, body)) for body in bodies]
    for stream in streams:
        await loop.create_connection(lambda stream=stream: stream, host, port)  # type: ignore[misc]
    gc.disable()
    started_s = time.perf_counter()
    for stream in streams:
        stream.send()
    await asyncio.wait([stream.done for stream in streams], timeout=_TIME_OUT_S)
    gc.enable()
    for stream in streams:
        stream.close()
    reports = [report(stream) for stream in streams]
    ended_s = max(stream.pieces[-1][0] for stream in streams)
    return {"wall_s": ended_s - started_s, "streams": reports}


def _run(request: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(_together(request["host"], request["port"], request["bodies"]))


if __name__ == "__main__":
    serve({"run": _run})
