"""One HTTP connection, with limits on what it may cost before it has asked for anything.

Room: server. The only file that knows uvicorn's protocol class; must not know requests' meaning.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from freehold.server.bodies import UPLOADS
from freehold.server.http_errors import plain_body, surface_of

__all__ = ["BoundedConnection"]

HEAD_S = 15.0  # from the connection, or a request's first byte, to the end of its headers
BODY_S = 60.0  # from there to the end of the body; the app has a shorter limit, and an answer
# An upload's body may take longer, as long as no pause in it does.
LINGER_S = 1.0  # for a refused client to read why, while what it still sends is thrown away
HEAD_BYTES = 64 << 10
MOST_CONNECTIONS = 900  # below the usual limit of 1024 open files

_UPGRADE = re.compile(rb"(\r\n)upgrade(?=[ \t]*:)", re.IGNORECASE)

_log = logging.getLogger(__name__)


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection whose headers are slow or large, and one too many.

    uvicorn itself waits without end for the first request's headers, and for a body that nobody
    reads because the request was refused.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""
        self._alarm: asyncio.TimerHandle | None = None
        self._in_head = True
        self._heads = 0
        self._head_bytes = 0
        self._is_refused = False
        self._open: list[RequestResponseCycle] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for headers."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
            return
        self._expect_within(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait, and tell every request: uvicorn tells the last of several only."""
        self._expect_nothing()
        super().connection_lost(exc)
        _tell_gone(self._unanswered())

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers have grown too large."""
        if self._is_refused:
            return
        heads, was_in_head = self._heads, self._in_head
        super().data_received(_without_upgrade(data) if was_in_head else data)
        if not was_in_head or self._heads > heads:
            self._head_bytes = 0
            if self._alarm and not self._in_head and _path(self.url) in UPLOADS:
                self._expect_within(BODY_S)
        else:
            self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self._refuse(431, f"the request's headers are over {HEAD_BYTES} bytes", "too_large")
        elif not (self._alarm or self.timeout_keep_alive_task or self._unanswered()):
            # Empty lines between two requests begin none, but end uvicorn's wait for one.
            self._expect_within(HEAD_S)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()  # type: ignore[no-untyped-call, unused-ignore]
        self._in_head = True
        self._expect_within(HEAD_S)

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        super().on_headers_complete()  # type: ignore[no-untyped-call, unused-ignore]
        self._heads += 1
        self._in_head = False
        self._open = [*self._unanswered(), self.cycle]
        if self.parser.should_upgrade():
            # The parser leaves out the body. What follows must never be taken for a request.
            self.cycle.keep_alive = False
        self._expect_within(BODY_S)

    def on_message_complete(self) -> None:
        """All of it is there; the answer may take its time."""
        super().on_message_complete()  # type: ignore[no-untyped-call, unused-ignore]
        self._in_head = True
        self._expect_nothing()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when the parser has met what is no HTTP, or has two readings."""
        del msg
        self._refuse(400, "this is no HTTP/1.1 request, or an ambiguous one", "not_http")

    def _refuse(self, status: int, said: str, code: str) -> None:
        """Say why, in the form of the path as far as it is known, and end the connection."""
        if self._is_refused or self.transport.is_closing():
            return
        waiting = self._unanswered()
        if len(waiting) > 1 or any(cycle.response_started for cycle in waiting):
            # In the middle of another answer, or before it, there is no place for this one.
            self.transport.close()
            return
        self._is_refused = True
        _tell_gone(waiting)
        request_id = "req_" + secrets.token_hex(12)
        _log.warning("%s: refused with %d before any route: %s", request_id, status, said)
        surface = surface_of(_path(self.url))
        body = plain_body(surface, status, said, code=f"request.{code}", request_id=request_id)
        self.transport.write(_response(status, body, request_id))
        # Closed at once, a client that still sends would see a reset instead of the answer.
        self.transport.write_eof()
        self._expect_within(LINGER_S)

    def _unanswered(self) -> list[RequestResponseCycle]:
        return [cycle for cycle in self._open if not cycle.response_complete]

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._alarm = self.loop.call_later(seconds, self._too_late)

    def _expect_nothing(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _too_late(self) -> None:
        self._alarm = None
        if self._in_head and self._head_bytes and not self._is_refused:
            self._refuse(408, f"the request's headers took more than {HEAD_S:g} s", "too_slow")
        elif not self.transport.is_closing():
            self.transport.close()


def _path(url: bytes) -> str:
    return url.partition(b"?")[0].decode("latin-1")


def _tell_gone(cycles: list[RequestResponseCycle]) -> None:
    for cycle in cycles:
        cycle.disconnected = True
        cycle.message_event.set()


def _without_upgrade(data: bytes) -> bytes:
    """The bytes of a request without the offer of another protocol, which a server may ignore.

    Clients make it by default, with a body that the parser would leave out.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(rb"\1x-upgrade", head) + end + rest


def _response(status: int, body: dict[str, Any], request_id: str) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n"
        f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + data
