"""A client of one surface over a scripted resident, with the real app's errors and statuses."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.testclient import TestClient

from freehold.errors import FreeholdError
from freehold.server.http_errors import Surface, error_body, from_validation, status_of
from tests.server.scripted import ScriptedResident, app_for


def surface_app(
    surface: Surface, router: APIRouter, resident: ScriptedResident | None = None
) -> FastAPI:
    app = app_for(router, resident)

    async def form(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestValidationError):
            error = from_validation(error.errors())
        assert isinstance(error, FreeholdError)
        return JSONResponse(error_body(surface, error, "req_test"), status_of(error))

    app.add_exception_handler(FreeholdError, form)
    app.add_exception_handler(RequestValidationError, form)
    return app


def surface_client(
    surface: Surface, router: APIRouter, resident: ScriptedResident | None = None
) -> TestClient:
    return TestClient(surface_app(surface, router, resident))
