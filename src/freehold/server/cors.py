"""Lets the web pages that the settings name read answers: none by default.

Room: server. Speaks to browsers only; who may ask at all is the doors' question.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Cors"]

_EXPOSED = "x-request-id, request-id, retry-after"


class Cors:
    """Answers preflights of pages of these origins, and marks the answers that they may read.

    There are no cookies, so nothing is said of credentials.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app, unless the request only asks for leave."""
        if scope["type"] != "http" or not self._origins:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        if not origin or not self._origins & {origin.lower(), "*"}:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _leave(origin, headers)(scope, receive, send)
        else:
            await self._app(scope, receive, _Readable(origin, send))


class _Readable:
    """Sends, with the headers that let the page read it."""

    def __init__(self, origin: str, send: Send) -> None:
        self._origin = origin
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message.setdefault("headers", [])
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = self._origin
            headers["access-control-expose-headers"] = _EXPOSED
            headers.add_vary_header("Origin")
        await self._send(message)


def _leave(origin: str, headers: Headers) -> Response:
    allowed = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, POST, DELETE",
        # Clients send headers of their own; a page that is named may send any.
        "access-control-allow-headers": headers.get("access-control-request-headers", ""),
        "access-control-max-age": "600",
        "vary": "Origin",
    }
    return Response(status_code=204, headers=allowed)
