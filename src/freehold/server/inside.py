"""The server's routes as its own jobs ask them: the same answers, without a connection.

Room: server. There are no doors here: whoever asks has been let in, and says for whom. Must not
know what is asked.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware

from freehold.errors import FreeholdError
from freehold.server.bodies import Limits, check_json
from freehold.server.http_errors import error_body, from_validation, status_of, surface_of

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Message

    from freehold.server.context import Asker

__all__ = ["Inside", "Reply"]


@dataclass(frozen=True)
class Reply:
    """A route's answer; `error` is what it was refused with, if it was."""

    status: int
    body: dict[str, Any]
    error: FreeholdError | None = None


class Inside:
    """The routes of one app."""

    def __init__(self, app: FastAPI, limits: Limits) -> None:
        self._app = app
        self._routes = AsyncExitStackMiddleware(app.router)
        self._limits = limits

    async def post(self, path: str, body: bytes, asker: Asker) -> Reply:
        """Ask a route that answers with JSON; what is refused comes as the client would read it.

        When the caller is cancelled, the answer is given up.
        """
        try:
            await asyncio.to_thread(check_json, body, self._limits)
            return await self._posted(path, body, asker)
        except RequestValidationError as error:
            return _refused(path, from_validation(error.errors()), asker)
        except FreeholdError as error:
            return _refused(path, error, asker)

    async def _posted(self, path: str, body: bytes, asker: Asker) -> Reply:
        sent: list[Message] = []
        asked: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            # Whoever asks from here never leaves but by cancelling.
            return asked.pop() if asked else await asyncio.get_running_loop().create_future()

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
            "client": None,
            "server": None,
            "app": self._app,
            "state": {"asker": asker, "request_id": asker.request_id},
        }
        await self._routes(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return Reply(sent[0]["status"], json.loads(content))


def _refused(path: str, error: FreeholdError, asker: Asker) -> Reply:
    body = error_body(surface_of(path), error, asker.request_id)
    return Reply(status_of(error), body, error)
