"""Asks an ASGI app as a byte-exact client would: any headers, in any number, in any order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Scope

__all__ = ["Reply", "ask", "asking", "scope_for"]

HOST = ("host", "127.0.0.1:8000")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def scope_for(
    path: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    method: str = "GET",
    host: tuple[str, str] | None = HOST,
) -> Scope:
    pairs = [*([host] if host else []), *headers]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def asking(app: ASGIApp, scope: Scope) -> Reply:
    """One exchange; the body is empty."""
    sent: list[Message] = []
    asked = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        # After its request a client that stays says nothing more.
        return asked.pop() if asked else await asyncio.Future()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    return Reply(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


def ask(
    app: ASGIApp,
    path: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    method: str = "GET",
    host: tuple[str, str] | None = HOST,
) -> Reply:
    return asyncio.run(asking(app, scope_for(path, headers, method=method, host=host)))
