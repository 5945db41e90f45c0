"""What clients do to a server: ask well, ask badly, leave early, say nonsense.

Each behaviour is one visit; what it may meet is checked on the spot, and a fault is raised as an
AssertionError. Must not know how many visit at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

__all__ = ["BEHAVIOURS", "Visitor", "ends_well", "long_stream"]

WORDS = "sea hill road lamp bread stone garden letter winter bridge paper silver".split()  # noqa: SIM905
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"enum": [1, 2, 3]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "The weather.", "strict": True, "parameters": CITY}
CHAT = "/v1/chat/completions"


@dataclass
class Visitor:
    """One client of the server."""

    http: httpx.AsyncClient
    url: str
    model: str
    rng: random.Random

    def text(self, words: int) -> str:
        """Something to say; sometimes what others have said, too."""
        if self.rng.random() < 0.3:
            return "Once more: " + " ".join(WORDS * 8)
        return " ".join(self.rng.choice(WORDS) for _ in range(words))

    def asked(self, **more: Any) -> dict[str, Any]:
        """A chat of OpenAI's form."""
        messages = [{"role": "user", "content": self.text(self.rng.randint(1, 60))}]
        forms: list[dict[str, Any]] = [{"temperature": 0}, {"temperature": 1, "top_p": 0.9}, {}]
        sampling = self.rng.choice(forms)
        tokens = self.rng.randint(1, 40)
        return {"model": self.model, "messages": messages, "max_tokens": tokens} | sampling | more

    async def post(self, path: str, body: Any, *statuses: int) -> httpx.Response:
        """A request that must be answered with one of these; a full queue is none of its faults."""
        reply = await self.http.post(path, json=body)
        if reply.status_code == 429:
            assert int(reply.headers["retry-after"]) >= 1
            raise Refused
        assert reply.status_code in statuses, f"{path}: {reply.status_code} {reply.text[:300]}"
        return reply

    async def lines(self, path: str, body: Any) -> AsyncIterator[str]:
        """The lines of a stream that are not empty."""
        async with self.http.stream("POST", path, json=body) as reply:
            if reply.status_code == 429:
                raise Refused
            text = "" if reply.status_code == 200 else (await reply.aread()).decode()
            assert reply.status_code == 200, f"{path}: {reply.status_code} {text[:300]}"
            async for line in reply.aiter_lines():
                if line:
                    yield line


class Refused(Exception):  # noqa: N818 - nobody's error
    """The queue was full."""


Behaviour = Callable[[Visitor], Awaitable[None]]


def ends_well(path: str, lines: list[str]) -> bool:
    """Whether a stream came to the end that its surface has."""
    if path.startswith("/api/"):
        return bool(json.loads(lines[-1]).get("done"))
    if path == "/v1/messages":
        return lines[-1] == 'data: {"type":"message_stop"}'
    if path == "/v1/responses":
        kind = json.loads(lines[-1].removeprefix("data: "))["type"]
        return kind in {"response.completed", "response.incomplete"}
    return lines[-1] == "data: [DONE]"


def long_stream(visitor: Visitor, path: str, *, tokens: int) -> dict[str, Any]:
    """A streaming request of this surface for so many tokens at most."""
    model = {"model": visitor.model, "stream": True}
    text = visitor.text(20)
    messages = [{"role": "user", "content": text}]
    bodies: dict[str, dict[str, Any]] = {
        CHAT: {"messages": messages, "max_tokens": tokens, "ignore_eos": True},
        "/v1/completions": {"prompt": text, "max_tokens": tokens, "ignore_eos": True},
        "/v1/messages": {"messages": messages, "max_tokens": tokens},
        "/v1/responses": {"input": text, "max_output_tokens": tokens, "store": False},
        "/api/chat": {"messages": messages, "options": {"num_predict": tokens}},
        "/api/generate": {"prompt": text, "options": {"num_predict": tokens}},
    }
    return model | bodies[path]


SURFACES = (CHAT, "/v1/completions", "/v1/messages", "/v1/responses", "/api/chat", "/api/generate")


ENDLESS = (CHAT, "/v1/completions")  # those that can be told to go on to the last token


async def stream_to_the_end(v: Visitor) -> None:
    path = v.rng.choice(SURFACES)
    body = long_stream(v, path, tokens=v.rng.randint(1, 40))
    lines = [line async for line in v.lines(path, body)]
    assert ends_well(path, lines), f"{path} ended with {lines[-1][:200]}"


async def leave_a_stream(v: Visitor) -> None:
    path = v.rng.choice(SURFACES)
    lines = v.lines(path, long_stream(v, path, tokens=400))
    left = v.rng.randint(1, 20)
    async with contextlib.aclosing(lines):  # type: ignore[type-var]
        async for _ in lines:
            left -= 1
            if not left:
                return


async def give_up_waiting(v: Visitor) -> None:
    path = v.rng.choice(SURFACES)
    body = long_stream(v, path, tokens=400) | {"stream": False}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(v.rng.uniform(0.0, 0.6)):
            await v.post(path, body, 200)


async def whole_answer(v: Visitor) -> None:
    n = v.rng.randint(1, 3)
    reply = await v.post(CHAT, v.asked(n=n, logprobs=True, top_logprobs=2, seed=n), 200)
    assert len(reply.json()["choices"]) == n


async def call_a_tool(v: Visitor) -> None:
    tools = [{"type": "function", "function": FUNCTION}]
    more = {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
    reply = await v.post(CHAT, v.asked(**more) | {"max_tokens": 80}, 200)
    (choice,) = reply.json()["choices"]
    if choice["finish_reason"] == "tool_calls":
        (call,) = choice["message"]["tool_calls"]
        assert set(json.loads(call["function"]["arguments"])) == {"city", "days"}


async def keep_to_a_schema(v: Visitor) -> None:
    schema = {"name": "city", "strict": True, "schema": CITY}
    form = {"response_format": {"type": "json_schema", "json_schema": schema}}
    reply = await v.post(CHAT, v.asked(**form) | {"max_tokens": 60}, 200)
    (choice,) = reply.json()["choices"]
    if choice["finish_reason"] == "stop":
        assert set(json.loads(choice["message"]["content"])) == {"city", "days"}


async def keep_a_response(v: Visitor) -> None:
    body = {"model": v.model, "input": v.text(9), "max_output_tokens": 9, "store": True}
    first = (await v.post("/v1/responses", body, 200)).json()["id"]
    again = body | {"previous_response_id": first, "input": "Go on."}
    second = (await v.post("/v1/responses", again, 200)).json()["id"]
    for name in (second, first):
        assert (await v.http.delete(f"/v1/responses/{name}")).status_code == 200
    assert (await v.http.get(f"/v1/responses/{first}")).status_code == 404


async def look_around(v: Visitor) -> None:
    paths = ["/health", "/v1/health", "/v1/models", "/metrics", "/api/tags", "/api/ps", "/admin/ps"]
    reply = await v.http.get(v.rng.choice(paths))
    assert reply.status_code == 200
    counted = {"model": v.model, "messages": [{"role": "user", "content": v.text(30)}]}
    await v.post("/v1/messages/count_tokens", counted, 200)
    await v.post("/tokenize", {"model": v.model, "prompt": v.text(30)}, 200)


async def send_too_much(v: Visitor) -> None:
    size = 9 << 20
    headers = {"content-type": "application/json"}
    body: Any = b" " * size if v.rng.random() < 0.5 else _pieces(size)
    # The server need not read on, so the connection may end while this end still writes.
    with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        reply = await v.http.post(CHAT, content=body, headers=headers)
        assert reply.status_code == 413, reply.status_code


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size >> 16):
        yield b" " * (1 << 16)


MALFORMED = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe\x00",
    b'{"model": "\xc3\x28"}',
    b'{"model": "x", "model": "x"}',
    b'{"temperature": NaN}',
    b'{"temperature": 1e999}',
    b'{"seed": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b'{"model": "\\ud800"}',
)


async def send_malformed(v: Visitor) -> None:
    path = v.rng.choice(SURFACES)
    headers = {"content-type": v.rng.choice(["application/json"] * 4 + ["text/plain", ""])}
    reply = await v.http.post(path, content=v.rng.choice(MALFORMED), headers=headers)
    assert 400 <= reply.status_code < 500, reply.status_code
    assert reply.json()["error"]


WRONG: tuple[tuple[dict[str, Any], int], ...] = (
    ({"model": "nobody"}, 404),
    ({"temperature": -1}, 400),
    ({"temperature": "warm"}, 400),
    ({"n": 10_000}, 400),
    ({"max_tokens": 0}, 400),
    ({"max_tokens": 100_000}, 400),
    ({"unheard_of": 1}, 400),
    ({"messages": []}, 400),
    ({"messages": [{"role": "user", "content": "sea " * 5000}]}, 400),
    ({"messages": [{"role": "king", "content": "hello"}]}, 400),
    ({"tools": [{"type": "function", "function": FUNCTION | {"parameters": {"type": 3}}}]}, 400),
    ({"logit_bias": {"999999": 1}}, 400),
    ({"response_format": {"type": "yaml"}}, 400),
)


async def ask_wrongly(v: Visitor) -> None:
    more, status = v.rng.choice(WRONG)
    reply = await v.post(CHAT, v.asked(**more), status)
    assert reply.json()["error"]["message"]


NOISE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"HELLO\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\ncontent-length: -4\r\n\r\n",
    b"POST /v1/messages HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"POST /v1/messages HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
    b"POST /v1/messages HTT",
)


async def make_noise(v: Visitor) -> None:
    """Bytes that are no request, or half of one; then silence, then gone."""
    where = urlsplit(v.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.write(v.rng.choice(NOISE))
            await writer.drain()
            async with asyncio.timeout(0.3):
                answer = await reader.read(1000)
                assert not answer.startswith(b"HTTP/1.1 5"), answer[:100]
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


BEHAVIOURS: dict[Behaviour, int] = {
    stream_to_the_end: 10,
    leave_a_stream: 6,
    give_up_waiting: 5,
    whole_answer: 3,
    call_a_tool: 3,
    keep_to_a_schema: 3,
    keep_a_response: 2,
    look_around: 3,
    send_too_much: 1,
    send_malformed: 4,
    ask_wrongly: 4,
    make_noise: 3,
}
