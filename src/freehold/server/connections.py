"""One HTTP connection, with limits on what it may cost before it has asked for anything.

Room: server. The only file that knows uvicorn's protocol class; must not know requests' meaning.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

__all__ = ["BoundedConnection"]

HEAD_S = 15.0  # from the connection, or a request's first byte, to the end of its headers
BODY_S = 60.0  # from there to the end of the body; the app has a shorter limit, and an answer
HEAD_BYTES = 64 << 10
MOST_CONNECTIONS = 900  # below the usual limit of 1024 open files


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
        self._alarm: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for headers."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
            return
        self._expect_within(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers have grown too large."""
        super().data_received(data)
        if not self._in_head:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES and self.transport is not None:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()  # type: ignore[no-untyped-call, unused-ignore]
        self._in_head = True
        self._expect_within(HEAD_S)

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        super().on_headers_complete()  # type: ignore[no-untyped-call, unused-ignore]
        self._in_head = False
        self._expect_within(BODY_S)

    def on_message_complete(self) -> None:
        """All of it is there; the answer may take its time."""
        super().on_message_complete()  # type: ignore[no-untyped-call, unused-ignore]
        self._expect_nothing()

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._alarm = self.loop.call_later(seconds, self._too_late)

    def _expect_nothing(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _too_late(self) -> None:
        self._alarm = None
        if not self.transport.is_closing():
            self.transport.close()
