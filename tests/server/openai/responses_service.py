"""`/v1/responses` over a scripted resident and a real store, as one owner or another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from openai import AsyncOpenAI
from starlette.testclient import TestClient

from freehold.errors import FreeholdError
from freehold.server.context import Asker
from freehold.server.http_errors import error_body, from_validation, status_of
from freehold.server.routes.openai.responses import router
from freehold.store import Store
from tests.server.scripted import MODEL, ScriptedResident, app_for
from tests.store.fresh import fresh_store

__all__ = ["Service", "opened"]


class Service:
    """Clients of one resident and one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.resident = ScriptedResident()

    def app(self, owner: str = "ann") -> FastAPI:
        asker = Asker(key_id=owner, request_id="req_test")
        app = app_for(router, self.resident, asker=asker, store=self.store)

        async def form(request: Request, error: Exception) -> JSONResponse:
            if isinstance(error, RequestValidationError):
                error = from_validation(error.errors())
            assert isinstance(error, FreeholdError)
            return JSONResponse(error_body("openai", error, "req_test"), status_of(error))

        app.add_exception_handler(FreeholdError, form)
        app.add_exception_handler(RequestValidationError, form)
        return app

    def client(self, owner: str = "ann") -> TestClient:
        return TestClient(self.app(owner))

    def openai(self, owner: str = "ann") -> AsyncOpenAI:
        """The official client, connected without a socket."""
        transport = httpx2.ASGITransport(app=self.app(owner))
        http = httpx2.AsyncClient(transport=transport)
        return AsyncOpenAI(api_key="x", base_url="http://local/v1", http_client=http, max_retries=0)

    def create(self, owner: str = "ann", **fields: Any) -> dict[str, Any]:
        """The response to a request that is expected to succeed."""
        body = {"model": MODEL, "input": "Hi", **fields}
        reply = self.client(owner).post("/v1/responses", json=body)
        assert reply.status_code == 200, reply.text
        made: dict[str, Any] = reply.json()
        return made

    def refused(self, body: dict[str, Any], *, status: int = 400) -> dict[str, Any]:
        """The error of a request that is expected to fail, and that must not reach the model."""
        reply = self.client().post("/v1/responses", json={"model": MODEL, "input": "Hi", **body})
        assert reply.status_code == status, reply.text
        assert self.resident.answers == []
        error: dict[str, Any] = reply.json()["error"]
        return error

    def streamed(self, **fields: Any) -> list[dict[str, Any]]:
        """The events of a stream, each one's name the same as its type."""
        body = {"model": MODEL, "input": "Hi", "stream": True, **fields}
        reply = self.client().post("/v1/responses", json=body)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"].startswith("text/event-stream")
        events = []
        for frame in reply.text.removesuffix("\n\n").split("\n\n"):
            name, data = frame.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
        return events


@contextmanager
def opened(home: Path) -> Iterator[Service]:
    store = fresh_store(home)
    try:
        yield Service(store)
    finally:
        store.close()
