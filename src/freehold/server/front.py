"""The front: every request gets an id, an answer in its surface's form, and a log line.

Room: server. Wraps `send` once, because it runs for every piece of every stream; must not know
routes.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import FreeholdError, TooLarge, TooSlow
from freehold.server.context import Asker
from freehold.server.doors import OPEN_PATHS, ROUTE_SCOPES
from freehold.server.http_errors import (
    Surface,
    error_body,
    error_headers,
    plain_body,
    status_of,
    surface_of,
)
from freehold.server.logs import Log, RequestRecord, current_record
from freehold.server.metrics import Metrics

__all__ = ["Front", "Traffic"]

_WELL_FORMED_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# nginx's number for a client that left before it had an answer.
_CLIENT_LEFT = 499


@dataclass
class Traffic:
    """How many requests are being answered."""

    in_flight: int = field(default=0)


class Front:
    """Names each request, turns its errors into answers, and writes its line."""

    def __init__(
        self,
        app: ASGIApp,
        log: Log,
        metrics: Metrics,
        traffic: Traffic,
        has_route: Callable[[Scope], bool],
    ) -> None:
        self._app = app
        self._has_route = has_route
        self._log = log
        self._metrics = metrics
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app for one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        record = RequestRecord(id=request_id, method=method)
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(scope, send, record)
        if method == "HEAD" and not self._has_route(scope):
            # Answered as its GET would be, without the body.
            exchange.scope = {**scope, "method": "GET"}
        token = current_record.set(record)
        self._traffic.in_flight += 1
        try:
            await self._answered(exchange, receive)
        finally:
            self._traffic.in_flight -= 1
            current_record.reset(token)
            self._written(exchange.scope, record)

    async def _answered(self, exchange: _Exchange, receive: Receive) -> None:
        record = exchange.record
        try:
            await self._app(exchange.scope, receive, exchange.send)
        except FreeholdError as error:
            if record.status:
                raise
            if status_of(error) >= 500:
                self._log.event(
                    "error", {"request": record.id, "code": error.code, "message": str(error)}
                )
            await exchange.refuse(error)
        except Exception as error:
            self._log.bug(error, request_id=record.id)
            if not record.status:
                await exchange.apologize()
            raise

    def _written(self, scope: Scope, record: RequestRecord) -> None:
        asker = scope["state"].get("asker")
        if isinstance(asker, Asker):
            record.key_id = asker.key_id
        # The template, not the path: a path may hold what a client made up.
        path = scope["path"]
        record.route = getattr(scope.get("route"), "path", None) or _known_part(path)
        record.status = record.status or _CLIENT_LEFT
        if path not in OPEN_PATHS or record.status != 200:
            self._log.request(record)
        self._metrics.on_request(record, monotonic() - record.started)


class _Exchange:
    """One request and what has been sent for it."""

    def __init__(self, scope: Scope, send: Send, record: RequestRecord) -> None:
        self.record = record
        self._send = send
        self._surface: Surface = surface_of(scope["path"])
        self._headless = scope["method"] == "HEAD"
        self.scope = scope

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.record.status = message["status"]
            request_id = self.record.id.encode()
            headers = [*message.get("headers", ()), (b"x-request-id", request_id)]
            if self._surface == "anthropic":
                headers.append((b"request-id", request_id))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            if not message.get("more_body", False):
                self.record.complete = True
            if self._headless:
                message = {**message, "body": b""}
        await self._send(message)

    async def refuse(self, error: FreeholdError) -> None:
        headers = error_headers(error)
        if isinstance(error, TooSlow | TooLarge):
            # What is left of the body is not worth waiting for.
            headers["connection"] = "close"
        body = error_body(self._surface, error, self.record.id)
        await self._respond(status_of(error), body, headers)

    async def apologize(self) -> None:
        said = f"an unforeseen error; the server's log has it under {self.record.id}"
        body = plain_body(
            self._surface, 500, said, code="internal_error", request_id=self.record.id
        )
        # The server will close it; who reused it would be cut off without a word.
        await self._respond(500, body, {"connection": "close"})

    async def _respond(self, status: int, body: object, headers: Mapping[str, str]) -> None:
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        pairs: list[tuple[bytes, bytes]] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(data)).encode()),
            *((name.encode(), value.encode()) for name, value in headers.items()),
        ]
        start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": pairs}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": data})


def _known_part(path: str) -> str:
    """What may be said of a path that no route was found for: the part that the doors know."""
    if path in OPEN_PATHS or path in ROUTE_SCOPES:
        return path
    while path:
        path = path.rpartition("/")[0]
        if path in ROUTE_SCOPES:
            return path + "/*"
    return "unmatched"


def _request_id(scope: Scope) -> str:
    """The client's own id where it is well-formed, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _WELL_FORMED_ID.fullmatch(value):
            return str(value.decode())
    return "req_" + secrets.token_hex(12)
