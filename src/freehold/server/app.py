"""The one application: every surface's routes behind the same layers.

Room: server. From the outside in: cors (web pages), front (id, errors, log), doors (keys and
rates), bodies, routes. Must not know how a model is run or where the server listens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold import __version__
from freehold.errors import Draining
from freehold.server.bodies import Bodies, Limits
from freehold.server.context import House
from freehold.server.cors import Cors
from freehold.server.doors import Doors
from freehold.server.front import Front, Traffic
from freehold.server.http_errors import from_validation, plain_body, surface_of
from freehold.server.inside import Inside
from freehold.server.logs import Log
from freehold.server.metrics import Metrics
from freehold.server.routes import adapters, admin, anthropic, ollama
from freehold.server.routes.openai import (
    batches,
    chat,
    completions,
    embeddings,
    evals,
    files,
    fine_tuning,
    models,
    rerank,
    responses,
    tokens,
)

__all__ = ["Outside", "create_app"]

_ALWAYS_ANSWERED = frozenset({"/health", "/healthz", "/readyz", "/v1/health", "/metrics"})
_VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What the app is told about the world around it; `origins`: web pages that may read it."""

    limits: Limits = field(default_factory=Limits)
    log: Log = field(default_factory=Log)
    metrics: Metrics = field(default_factory=Metrics)
    traffic: Traffic = field(default_factory=Traffic)
    origins: Collection[str] = ()


def create_app(house: House, *, outside: Outside | None = None) -> FastAPI:
    """The application over a house, whose parts are started and closed by others."""
    outside = outside or Outside(metrics=Metrics(house.residents))
    app = FastAPI(
        title="Freehold",
        version=__version__,
        # Its pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: f"{surface_of(route.path)}_{route.name}",
    )
    app.state.house = house
    house.inside = Inside(app, outside.limits)
    app.state.metrics = outside.metrics
    for router in _routers():
        app.include_router(router)
    app.add_exception_handler(HTTPException, _plainly(app))
    app.add_exception_handler(RequestValidationError, _as_bad_request)
    # The last one added is the outermost.
    app.add_middleware(Bodies, limits=outside.limits)
    app.add_middleware(Doors, house=house)
    app.add_middleware(_Drains, house=house)
    app.add_middleware(
        Front,
        log=outside.log,
        metrics=outside.metrics,
        traffic=outside.traffic,
        has_route=lambda scope: _has_route(app, scope),
    )
    # Outside even of the front, so that a page can read why it was refused.
    app.add_middleware(Cors, origins=outside.origins)
    _describe(app)
    return app


def _routers() -> list[APIRouter]:
    return [
        adapters.router,
        admin.router,
        batches.router,
        chat.router,
        completions.router,
        embeddings.router,
        evals.router,
        files.router,
        fine_tuning.router,
        models.router,
        rerank.router,
        responses.router,
        tokens.router,
        anthropic.router,
        ollama.router,
    ]


class _Drains:
    """Turns new requests away while the server is shutting down."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            self._house.draining
            and scope["type"] == "http"
            and scope["path"] not in _ALWAYS_ANSWERED
        ):
            raise Draining("the server is shutting down", hint="ask another one, or ask later")
        await self._app(scope, receive, send)


def _plainly(app: FastAPI) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The handler of what routing itself refuses: unknown paths and methods."""

    async def handle(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status, code, said = error.status_code, "request.invalid", "the request is not valid"
        headers: dict[str, str] = {}
        if status == 404:
            code, said = "request.unknown_path", "there is nothing at this path"
        if status == 405:
            allowed = _allowed(app, request.scope)
            headers["allow"] = ", ".join(allowed)
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
            code, said = "request.wrong_method", f"this path takes {headers['allow']} only"
        body = plain_body(
            surface_of(request.scope["path"]),
            status,
            said,
            code=code,
            request_id=request.scope["state"]["request_id"],
        )
        return JSONResponse(body, status_code=status, headers=headers)

    return handle


async def _as_bad_request(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    raise from_validation(error.errors()) from None


def _allowed(app: FastAPI, scope: Scope) -> list[str]:
    """The methods that the path takes."""
    methods = [verb for verb in _VERBS if _has_route(app, {**scope, "method": verb})]
    if "GET" in methods:
        methods.insert(1, "HEAD")
    return [*methods, "OPTIONS"]


def _has_route(app: FastAPI, scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)


def _describe(app: FastAPI) -> None:
    """Make the OpenAPI description say what the layers do: keys, and no 422."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        schema = plain()
        for operations in schema.get("paths", {}).values():
            for operation in operations.values():
                # FastAPI's own answer to an invalid body; here that is a 400.
                operation["responses"].pop("422", None)
        parts = schema.setdefault("components", {})
        for name in ("HTTPValidationError", "ValidationError"):
            parts.get("schemas", {}).pop(name, None)
        parts["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
        schema["security"] = [{"bearer": []}, {"x-api-key": []}, {}]
        return schema

    # FastAPI's documented way to change its description.
    app.openapi = described  # type: ignore[method-assign]
