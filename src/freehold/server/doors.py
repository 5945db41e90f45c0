"""The doors: whoever wants in shows a key that covers where they want to go.

Room: server. One check for every route, before anything of the request's body is read. Knows paths,
scopes and headers; must not know what a route does.

Keys are asked for as soon as one was ever made, revoked ones included, or when the server listens
on more than loopback. Until then everybody on this machine is the one owner `local`, and web pages
are kept out.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse

from freehold.errors import Forbidden, NotFound, RateLimited, Unauthenticated
from freehold.server.browsers import check_browser, is_loopback
from freehold.server.context import Asker
from freehold.server.http_errors import error_body, error_headers, status_of, surface_of
from freehold.server.keyring import Keyring

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from freehold.server.context import House
    from freehold.server.limits import Pass
    from freehold.store import KeyRecord

__all__ = ["OPEN_PATHS", "ROUTE_SCOPES", "Doors", "scope_of", "secret_in"]

# Which scope a path needs: the longest prefix of whole segments counts. A path that is not in here
# does not exist, whether or not the app has a route for it; a test holds the app to this table.
ROUTE_SCOPES: Mapping[str, str] = {
    "/v1/chat/completions": "generate",
    "/v1/completions": "generate",
    "/v1/responses": "generate",
    "/v1/messages": "generate",
    "/tokenize": "generate",
    "/detokenize": "generate",
    "/tokenizer_info": "generate",
    "/api/chat": "generate",
    "/api/generate": "generate",
    "/v1/embeddings": "embed",
    "/v1/rerank": "embed",
    "/rerank": "embed",
    "/api/embed": "embed",
    "/api/embeddings": "embed",
    "/v1/models": "read",
    "/v1/health": "read",
    "/api/tags": "read",
    "/api/show": "read",
    "/api/ps": "read",
    "/api/version": "read",
    "/version": "read",
    "/openapi.json": "read",
    "/v1/files": "jobs",
    "/v1/batches": "jobs",
    "/v1/evals": "jobs",
    "/v1/fine_tuning": "tune",
    "/metrics": "metrics",
    "/api/pull": "admin",
    "/api/push": "admin",
    "/api/create": "admin",
    "/api/copy": "admin",
    "/api/delete": "admin",
    "/api/blobs": "admin",
    "/v1/load_lora_adapter": "admin",
    "/v1/unload_lora_adapter": "admin",
    "/admin": "admin",
}

# Is the server alive, is it ready: a word without any detail, for whoever starts and watches it.
OPEN_PATHS = frozenset({"/health", "/healthz", "/readyz"})


def scope_of(path: str) -> str | None:
    """The scope that a path needs; None where there is nothing."""
    while path:
        if path in ROUTE_SCOPES:
            return ROUTE_SCOPES[path]
        path = path.rpartition("/")[0]
    return None


class Doors:
    """ASGI middleware that leaves the Asker in `scope["state"]["asker"]`.

    Raises: Unauthenticated, Forbidden, NotFound, StoreUnusable. It answers a 429 itself, because
    that carries the key's limits.
    """

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._house = house
        self._limits = house.accounting.limits
        self._keyring = Keyring(house.store.keys)
        self._is_private = is_loopback(house.settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # There is nothing here that speaks another protocol.
            await send({"type": "websocket.close", "code": 1008})
            return
        state = scope.setdefault("state", {})
        request_id = str(state.get("request_id", ""))
        if scope["method"] in ("GET", "HEAD") and scope["path"] in OPEN_PATHS:
            state["asker"] = Asker(key_id="nobody", scopes=frozenset(), request_id=request_id)
            await self._app(scope, receive, send)
            return
        record = await self._key_of(scope["headers"])
        state["asker"] = asker = _asker(record, request_id)
        _check_scope(asker, scope["path"])
        if record is None:
            await self._app(scope, receive, send)
            return
        self._house.store.keys.used(record.id)
        try:
            admitted = self._limits.enter(record.id, record.limits)
        except RateLimited as error:
            known = self._limits.headers(record.id, record.limits)
            await _refusal(error, scope["path"], request_id, known)(scope, receive, send)
            return
        await self._counted(admitted, scope, receive, send)

    async def _key_of(self, headers: Sequence[tuple[bytes, bytes]]) -> KeyRecord | None:
        """The valid key that a request shows; None where nobody needs one.

        Raises: Unauthenticated, Forbidden, StoreUnusable.
        """
        if self._is_private and await self._keyring.is_empty():
            settings = self._house.settings
            check_browser(
                headers,
                allowed_hosts=settings.allowed_hosts,
                allowed_origins=settings.allowed_origins,
            )
            return None
        record = await self._keyring.find(secret_in(headers))
        if record is None:
            raise Unauthenticated("this key is not known", hint="`freehold keys create` makes one")
        key_state = record.state(time.time())
        if key_state != "valid":
            raise Unauthenticated(f"the key {record.name!r} is {key_state}", value=record.id)
        return record

    async def _counted(self, admitted: Pass, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and hold the key's place until the last byte is sent or the client has left."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                for name, value in admitted.headers:
                    MutableHeaders(scope=message).append(name, value)
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                admitted.leave()

        try:
            await self._app(scope, receive, sent)
        finally:
            admitted.leave()


def secret_in(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The one secret that a request shows, in either of the two headers or the same in both.

    Raises: Unauthenticated where there is none, or room for doubt.
    """
    bearer = [value for name, value in headers if name == b"authorization"]
    plain = [value.strip() for name, value in headers if name == b"x-api-key"]
    if len(bearer) > 1 or len(plain) > 1:
        raise Unauthenticated("the request shows several keys", hint="send one header with one key")
    shown = plain
    if bearer:
        scheme, _, token = bearer[0].strip().partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            raise Unauthenticated("the Authorization header is not `Bearer KEY`")
        shown = [*shown, token.strip()]
    if not shown or not shown[0]:
        raise Unauthenticated(
            "this server needs a key",
            expected="`Authorization: Bearer KEY` or `x-api-key: KEY`",
            hint="`freehold keys create` makes one",
        )
    if not hmac.compare_digest(shown[0], shown[-1]):
        raise Unauthenticated("the two key headers differ", hint="send one of them")
    return shown[0].decode("latin-1")


def _asker(record: KeyRecord | None, request_id: str) -> Asker:
    if record is None:
        return Asker(request_id=request_id)
    return Asker(key_id=record.id, scopes=record.scopes, request_id=request_id)


def _check_scope(asker: Asker, path: str) -> None:
    needed = scope_of(path)
    if needed is None:
        raise NotFound("there is no such path", hint="GET /openapi.json lists them")
    if not asker.may(needed):
        raise Forbidden(
            f"the key does not cover {needed!r}",
            value=needed,
            found=", ".join(sorted(asker.scopes)),
            hint=f"create a key with --scope {needed}",
        )


def _refusal(
    error: RateLimited, path: str, request_id: str, known: Sequence[tuple[str, str]]
) -> JSONResponse:
    body = error_body(surface_of(path), error, request_id)
    headers = dict(known) | error_headers(error)
    return JSONResponse(body, status_code=status_of(error), headers=headers)
