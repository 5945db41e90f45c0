"""The limits of a request, and the bodies that stay within them.

Room: server. Every body is received whole, in time, and read as strict JSON before any route sees
it, but for uploads, which their route receives piece by piece; must not know what any field means.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import BadRequest, TooLarge, TooSlow, WrongMediaType

__all__ = ["UPLOADS", "Bodies", "Limits", "check_json"]

UPLOADS = frozenset({"/v1/files"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# Possessive, and matching an open end too, so that no text costs more than its length.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_SQUARE = bytes.maketrans(b"{}", b"[]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one request may hold. What is over a limit is refused, never shortened.

    Units: sizes in bytes, `body_s` in seconds from the end of the headers to the end of the body.
    """

    body_bytes: int = 8 << 20
    body_s: float = 30.0
    json_depth: int = 64
    json_containers: int = 1 << 17
    json_commas: int = 1 << 20


class Bodies:
    """Receives and checks a request's body, then lets the route read it.

    Raises: TooLarge, TooSlow, WrongMediaType, BadRequest.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app with the whole body at hand."""
        taken_whole = scope["type"] == "http" and scope["method"] in _WITH_BODY
        if not taken_whole or scope.get("path") in UPLOADS:
            await self._app(scope, receive, send)
            return
        body = await self._received(scope, receive)
        if body is None:
            return
        if body:
            _check_type(scope)
            check_json(body, self._limits)
        await self._app(scope, _Replay(body, receive), send)

    async def _received(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None when the client has left."""
        limit = self._limits.body_bytes
        announced = _header(scope, b"content-length")
        if announced.isdigit() and int(announced) > limit:
            raise _too_large(limit, found=f"{int(announced)} bytes announced")
        try:
            async with asyncio.timeout(self._limits.body_s):
                return await _whole(receive, limit)
        except TimeoutError:
            raise TooSlow(
                "the request's body did not arrive in time",
                expected=f"all of it within {self._limits.body_s:g} s",
            ) from None


async def _whole(receive: Receive, limit: int) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit, found=f"more than {limit} bytes")
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


class _Replay:
    """Gives the received body once, then whatever comes after it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def check_json(body: bytes, limits: Limits) -> None:
    """Refuse what is not one strict JSON text: UTF-8, no key twice, no NaN, not too deep.

    Raises: BadRequest, saying where and never what; TooLarge for the depth.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(
            "the body is not UTF-8", expected="JSON in UTF-8", found=f"a bad byte at {error.start}"
        ) from None
    _check_count(body, limits)
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refused, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise BadRequest(
            "the body is not valid JSON",
            expected="one JSON object",
            found=f"{error.msg} at character {error.pos}",
        ) from None
    except RecursionError:
        raise _too_deep(limits.json_depth) from None
    except ValueError:
        # Python's own limit on the digits of a whole number.
        raise BadRequest("a number in the body has too many digits") from None
    _check_depth(body, limits.json_depth)
    if _SURROGATE.search(body):
        _check_surrogates(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("an object in the body has the same key twice", expected="each key once")
    return found


def _refused(constant: str) -> float:
    raise BadRequest(
        f"the body is not valid JSON: {constant} is no JSON number", expected="a finite number"
    )


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadRequest("a number in the body is too large", expected="a finite number")
    return number


def _check_count(body: bytes, limits: Limits) -> None:
    """Refuse what would keep everybody waiting while objects are made of it."""
    if _num_containers(body) <= limits.json_containers and body.count(b",") <= limits.json_commas:
        return
    # Marks in texts do not count; to leave texts out takes longer.
    outside = _STRING.sub(b"", body)
    for what, found, limit in (
        ("objects and arrays", _num_containers(outside), limits.json_containers),
        ("commas", outside.count(b","), limits.json_commas),
    ):
        if found > limit:
            raise BadRequest(
                f"the body's JSON has too many {what}",
                expected=f"at most {limit}",
                found=str(found),
            )


def _num_containers(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _check_depth(body: bytes, limit: int) -> None:
    # Valid JSON without its strings is brackets and fillers; each pass takes off the innermost.
    brackets = _STRING.sub(b"", body).translate(_SQUARE, _NOT_BRACKETS)
    for _ in range(limit):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise _too_deep(limit)


def _check_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise BadRequest(
            "a text in the body holds half of a surrogate pair",
            expected="whole characters",
        ) from None


def _too_deep(limit: int) -> BadRequest:
    return BadRequest(
        "the body's JSON is nested too deeply", expected=f"at most {limit} levels", found="more"
    )


def _too_large(limit: int, *, found: str) -> TooLarge:
    return TooLarge("the body is too large", expected=f"at most {limit} bytes", found=found)


def _check_type(scope: Scope) -> None:
    kind, _, parameters = _header(scope, b"content-type").decode("latin-1").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    coding = _header(scope, b"content-encoding").decode("latin-1").lower()
    if (
        kind.strip().lower() == "application/json"
        and charset in {"", "utf-8", "utf8"}
        and coding in {"", "identity"}
    ):
        return
    raise WrongMediaType(
        "the body is not declared as JSON",
        expected="content-type: application/json, in UTF-8 and without content-encoding",
        hint="curl: -H 'content-type: application/json'",
    )


def _header(scope: Scope, name: bytes) -> bytes:
    values: list[bytes] = [value for key, value in scope["headers"] if key == name]
    return values[0] if values else b""
