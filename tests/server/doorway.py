"""A house with real keys behind real doors, and nothing but an echo inside."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.config import resolve_settings
from freehold.server.accounting import Accounting
from freehold.server.context import House
from freehold.server.doors import Doors
from freehold.server.front import Front, Traffic
from freehold.server.logs import Log
from freehold.server.metrics import Metrics
from tests.store.fresh import fresh_store

__all__ = ["bearer", "echo", "furnished", "guarded"]


def furnished(home: Path, settings: Mapping[str, object] | None = None) -> House:
    """A house over an empty database."""
    store = fresh_store(home)
    residents: Any = SimpleNamespace(cards=list, loaded=list, ready=True)
    return House(
        settings=resolve_settings(settings, environment={"FREEHOLD_HOME": str(home)}),
        residents=residents,
        store=store,
        accounting=Accounting(store.usage),
    )


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says who the doors think it is."""
    asker = scope["state"]["asker"]
    body = {"key_id": asker.key_id, "scopes": sorted(asker.scopes), "id": asker.request_id}
    await JSONResponse(body)(scope, receive, send)


def guarded(house: House, inside: ASGIApp = echo) -> ASGIApp:
    """The doors around an app, errors formed as the server forms them."""
    return Front(
        Doors(inside, house),
        log=Log(to=io.StringIO()),
        metrics=Metrics(),
        traffic=Traffic(),
        has_route=lambda scope: True,
    )


def bearer(secret: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {secret}")]
