"""The whole app over scripted residents and a real store: what a client of the server meets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.testclient import TestClient

from freehold.config import resolve_settings
from freehold.server.accounting import Accounting
from freehold.server.app import Outside, create_app
from freehold.server.bodies import Limits
from freehold.server.context import House
from freehold.server.logs import Log, LogForm
from freehold.server.metrics import Metrics
from tests.server.scripted import ScriptedResident, ScriptedResidents
from tests.store.fresh import fresh_store

JSON = {"content-type": "application/json"}


@dataclass
class Whole:
    """An app, a client of it, and what it wrote down."""

    app: FastAPI
    house: House
    client: TestClient
    written: StringIO
    metrics: Metrics

    def lines(self) -> list[str]:
        return self.written.getvalue().splitlines()

    def key(self, name: str, *scopes: str) -> dict[str, str]:
        """The headers of a new key."""
        _, secret = self.house.store.keys.create(name, scopes or ("*",))
        return {"authorization": f"Bearer {secret}"}


@contextmanager
def whole_app(
    home: Path,
    resident: ScriptedResident | None = None,
    *,
    flags: dict[str, object] | None = None,
    limits: Limits | None = None,
    form: LogForm = "json",
    more: APIRouter | None = None,
) -> Iterator[Whole]:
    settings = resolve_settings({"home": home, **(flags or {})})
    residents: Any = ScriptedResidents(resident or ScriptedResident())
    written = StringIO()
    metrics = Metrics(residents)
    store = fresh_store(settings.home)
    house = House(
        settings=settings,
        residents=residents,
        store=store,
        accounting=Accounting(store.usage),
    )
    outside = Outside(log=Log(form, to=written), metrics=metrics, origins=settings.allowed_origins)
    if limits is not None:
        outside = replace(outside, limits=limits)
    app = create_app(house, outside=outside)
    if more is not None:
        app.include_router(more)
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    try:
        yield Whole(app, house, client, written, metrics)
    finally:
        client.close()
        store.close()
