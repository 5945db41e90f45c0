"""What Ollama does over HTTP and Freehold does at its own command line only.

Room: server. A request never fetches, changes or deletes a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from fastapi import APIRouter, Request

from freehold.errors import UnsupportedField
from freehold.server.http_errors import OPENAPI_ERRORS

__all__ = ["HINTS", "router"]

router = APIRouter(tags=["ollama"], responses=OPENAPI_ERRORS)

# Path and method to what does it instead.
HINTS = {
    ("/api/pull", "POST"): "`freehold pull MODEL` on the server's machine",
    ("/api/push", "POST"): "models leave this machine only by your own hand",
    ("/api/create", "POST"): "send system and options with each request",
    ("/api/copy", "POST"): "`freehold serve` takes any file under its own name",
    ("/api/delete", "DELETE"): "`freehold rm MODEL` on the server's machine",
    ("/api/blobs/{digest}", "HEAD"): "`freehold pull MODEL` on the server's machine",
    ("/api/blobs/{digest}", "POST"): "`freehold pull MODEL` on the server's machine",
}


def _refuse(request: Request) -> NoReturn:
    path = request.scope["route"].path
    raise UnsupportedField(f"{path} is not offered over HTTP", hint=HINTS[path, request.method])


def _refuse_blob(request: Request, digest: str) -> NoReturn:
    del digest
    _refuse(request)


def _handler(path: str) -> Callable[..., NoReturn]:
    if "{digest}" in path:
        return _refuse_blob
    return _refuse


for _path, _method in HINTS:
    router.add_api_route(
        _path,
        _handler(_path),
        methods=[_method],
        name=f"refuse_{_method.lower()}_{_path.split('/')[2]}",
        response_model=None,
    )
