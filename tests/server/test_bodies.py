"""Bodies are received whole, in time, within limits, and as strict JSON."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from freehold.errors import BadRequest, FreeholdError, TooLarge, TooSlow, WrongMediaType
from freehold.server.bodies import Bodies, Limits, check_json

LIMITS = Limits(body_bytes=1000, body_s=0.2, json_depth=4)


def pieces(*bodies: bytes, more: bool = False) -> list[Message]:
    last = len(bodies) - 1
    return [
        {"type": "http.request", "body": body, "more_body": more or index < last}
        for index, body in enumerate(bodies)
    ]


def read_through(
    messages: list[Message],
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
    limits: Limits = LIMITS,
) -> bytes | None:
    """The body as the app reads it; None when the app was not run."""
    read: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        read.append((await receive())["body"])

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    given = {"content-type": "application/json"} if headers is None else headers
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    scope: dict[str, Any] = {"type": "http", "method": method, "headers": pairs}
    asyncio.run(Bodies(app, limits)(scope, receive, send))
    return read[0] if read else None


def test_a_body_arrives_whole() -> None:
    assert read_through(pieces(b'{"a":', b"", b" 1}")) == b'{"a": 1}'


def test_a_body_of_exactly_the_limit_passes() -> None:
    body = json.dumps("x" * 998).encode()
    assert len(body) == LIMITS.body_bytes
    assert read_through(pieces(body)) == body


def test_a_larger_body_is_refused_while_it_comes() -> None:
    # More would follow, and nobody waits for it.
    with pytest.raises(TooLarge, match="1000"):
        read_through(pieces(b"1" * 600, b"1" * 600, more=True))


def test_a_larger_announced_body_is_refused_before_it_comes() -> None:
    with pytest.raises(TooLarge, match="1001"):
        read_through([], {"content-type": "application/json", "content-length": "1001"})


def test_a_slow_body_is_refused() -> None:
    with pytest.raises(TooSlow):
        read_through(pieces(b'{"a"', more=True))


def test_nothing_runs_for_a_client_that_left() -> None:
    assert read_through([*pieces(b"{", more=True), {"type": "http.disconnect"}]) is None


def test_a_body_is_not_asked_of_a_get() -> None:
    assert read_through(pieces(b"no json"), {}, method="GET") == b"no json"


def test_an_empty_body_needs_no_type() -> None:
    assert read_through(pieces(b""), {}) == b""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonx"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
    ids=str,
)
def test_another_type_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(WrongMediaType):
        read_through(pieces(b"{}"), headers)


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf8"'],
)
def test_json_by_any_spelling_passes(kind: str) -> None:
    assert read_through(pieces(b"{}"), {"content-type": kind}) == b"{}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff", "UTF-8"),
        (b'"\xc3"', "UTF-8"),
        ('\ufeff{"a": 1}'.encode(), "JSON"),
        (b"{", "JSON"),
        (b"{'a': 1}", "JSON"),
        (b'{"a": 1} 2', "JSON"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"b": [{"a": 1, "a": 1}]}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b"1" * 5000, "digits"),
        (b"[[[[[]]]]]", "deeply"),
        (b'[{"a":[{"b":{}}]}]', "deeply"),
        (b"[" * 100_000, "deeply"),
        (b'{"a":' * 100_000, "deeply"),
        (b"[" + b"[]," * (1 << 17) + b"0]", "too many objects and arrays"),
        (b"[" + b"0," * (1 << 20) + b"0,0]", "too many commas"),
        (b"[" * 8_000_000, "too many objects and arrays"),
        (rb'"\ud800"', "surrogate"),
        (rb'{"\udfff x": 1}', "surrogate"),
        (b'"a\nb"', "JSON"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_what_is_not_strict_json_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        check_json(body, LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        b"[[[[]]]]",
        b'{"a":{"b":{"c":{}}}}',
        b'["[[[[[[{{{{{{", "\\"[[[[[[", "\\\\", [[]]]',
        b"[[],[],[],[],[],[[]]]",
        rb'"\ud83d\ude00 \u00e9"',
        '{"é": "日本語"}'.encode(),
        b"[1, -0.5, 1e300, true, null]",
    ],
)
def test_strict_json_passes(body: bytes) -> None:
    check_json(body, LIMITS)


def test_an_error_does_not_quote_the_body() -> None:
    for body in (b'{"secret": nope}', b'{"secret": 1, "secret": 2}', b'{"secret": "\xff"}'):
        with pytest.raises(FreeholdError) as caught:
            check_json(body, LIMITS)
        assert "secret" not in str(vars(caught.value))


@pytest.mark.parametrize("brackets", [b"[]", b"{},", b'"[",'])
def test_a_large_flat_body_is_checked_quickly(brackets: bytes) -> None:
    body = b"[" + (brackets.rstrip(b",") + b",") * 100_000 + b"0]"
    check_json(body, Limits())


@pytest.mark.parametrize("mark", [b"[", b"{", b",", b'\\"['])
def test_marks_in_a_text_are_no_objects(mark: bytes) -> None:
    check_json(b'["' + mark * (1 << 20) + b'"]', Limits())


@pytest.mark.parametrize("tail", [b'"', b"", b"\\"])
def test_no_text_takes_longer_than_its_length(tail: bytes) -> None:
    body = b"[" * (1 << 17) + b'["' + b'\\"' * 3_000_000 + tail
    begun = time.process_time()
    with pytest.raises(BadRequest):
        check_json(body, Limits())
    # Once over it takes 0.1 s; once over for each quotation mark, an hour.
    assert time.process_time() - begun < 10
