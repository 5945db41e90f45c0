"""The server about itself: is it well, what runs, its counts; and loading models by hand.

Room: server. Behind the same doors as every route; the three open paths say one word only.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from freehold import __version__
from freehold.server.context import Context, House
from freehold.server.http_errors import OPENAPI_ERRORS

__all__ = [
    "ModelBody",
    "detailed_health",
    "health",
    "healthz",
    "load",
    "metrics",
    "readyz",
    "router",
    "running",
    "unload",
    "version",
]

router = APIRouter(responses=OPENAPI_ERRORS, tags=["server"])

_RETRY = {"retry-after": "5"}


class ModelBody(BaseModel):
    """Which model to load or unload."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=1000)]


@router.get("/health")
def health(request: Request) -> Response:
    """Whether requests are taken: 200 "ok", or 503 "loading" or "draining"."""
    return _word(_house(request))


@router.get("/readyz")
def readyz(request: Request) -> Response:
    """The same as /health, by the name that orchestrators use."""
    return _word(_house(request))


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Whether the process answers at all; 200 while it loads, too."""
    return {"status": "alive"}


@router.get("/v1/health")
def detailed_health(ctx: Context) -> Response:
    """As /health, with every loaded model's state."""
    house = ctx.house
    body = {"status": _status(house), "version": __version__, "models": _running(house)}
    return _with_status(house, body)


@router.get("/version")
def version() -> dict[str, str]:
    """The server's version."""
    return {"version": __version__}


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Counts and times for Prometheus, under Freehold's names and vLLM's."""
    page, content_type = request.app.state.metrics.page(request.headers.get("accept", ""))
    return Response(page, headers={"content-type": content_type})


@router.get("/admin/ps")
def running(ctx: Context) -> dict[str, Any]:
    """The models in memory."""
    return {"models": _running(ctx.house)}


@router.post("/admin/models/load")
async def load(body: ModelBody, ctx: Context) -> dict[str, Any]:
    """Load a model now instead of with its first request."""
    residents = ctx.house.residents
    kinds = {card.id: card.kind for card in residents.cards()}
    if kinds.get(body.model) == "embedding":
        await residents.embedder(body.model)
    else:
        # Also raises what there is to say about an unknown name.
        await residents.chat(body.model)
    return {"models": _running(ctx.house)}


@router.post("/admin/models/unload")
async def unload(body: ModelBody, ctx: Context) -> dict[str, Any]:
    """Take a model out of memory; its requests in flight end with an error."""
    await ctx.house.residents.unload(body.model)
    return {"models": _running(ctx.house)}


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


def _status(house: House) -> str:
    if house.draining:
        return "draining"
    return "ok" if house.residents.ready else "loading"


def _word(house: House) -> Response:
    return _with_status(house, {"status": _status(house)})


def _with_status(house: House, body: dict[str, Any]) -> Response:
    if _status(house) == "ok":
        return JSONResponse(body)
    return JSONResponse(body, status_code=503, headers=_RETRY)


def _running(house: House) -> list[dict[str, Any]]:
    return [
        {
            "model": model.card.id,
            "kind": model.card.kind,
            "memory_bytes": model.memory_bytes,
            "context_tokens": model.context_tokens,
            "running": model.running,
            "waiting": model.waiting,
            "since": int(model.since),
        }
        for model in house.residents.loaded()
    ]
