"""What holds for every route: ids, forms, doors, methods, bodies, draining, the description."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from freehold.errors import BadRequest, EngineDied, Truncated
from freehold.server.bodies import Limits
from freehold.server.doors import OPEN_PATHS, scope_of
from freehold.server.http_errors import OPENAPI_ERRORS
from tests.server.whole import JSON, Whole, whole_app

SURFACES = {"openai": "/v1/x", "anthropic": "/v1/messages", "ollama": "/api/x"}
SECRET_TEXT = "the prompt itself"


def broken_routes() -> APIRouter:
    """Routes that fail in the ways a route can."""
    router = APIRouter()

    @router.get("/version/bug")
    def bug() -> None:
        raise ValueError(SECRET_TEXT)

    @router.get("/version/refused")
    def refused() -> None:
        raise BadRequest("no", param="x")

    @router.get("/version/died")
    def died() -> None:
        raise EngineDied("died")

    @router.get("/version/file")
    def file() -> None:
        raise Truncated("ends early", path="place/model.gguf")

    return router


@pytest.fixture
def whole(home: Path) -> Iterator[Whole]:
    with whole_app(home, more=broken_routes()) as whole:
        yield whole


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the app with the broken routes says of itself, over HTTP."""
    with whole_app(tmp_path_factory.mktemp("described"), more=broken_routes()) as whole:
        told: dict[str, Any] = whole.client.get("/openapi.json").json()
        return told


def message_of(surface: str, body: dict[str, Any]) -> str:
    if surface == "ollama":
        assert body.keys() == {"error"}
        return str(body["error"])
    if surface == "anthropic":
        assert body["type"] == "error"
        assert body["request_id"].startswith("req_")
    return str(body["error"]["message"])


@pytest.mark.parametrize("surface", SURFACES)
def test_a_missing_key_is_refused_in_the_form_of_the_surface(whole: Whole, surface: str) -> None:
    whole.key("first")
    answer = whole.client.post(SURFACES[surface], json={})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "key" in message_of(surface, answer.json())


@pytest.mark.parametrize("surface", ["openai", "ollama"])
def test_an_unknown_path_is_a_404_in_the_form_of_the_surface(whole: Whole, surface: str) -> None:
    answer = whole.client.get(SURFACES[surface])
    assert answer.status_code == 404
    assert message_of(surface, answer.json())


def test_a_wrong_method_names_the_right_ones(whole: Whole) -> None:
    answer = whole.client.put("/v1/messages", json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST, OPTIONS"
    assert "POST" in message_of("anthropic", answer.json())
    assert whole.client.delete("/version").headers["allow"] == "GET, HEAD, OPTIONS"


def test_allow_names_the_methods_of_all_routes_of_a_path(whole: Whole) -> None:
    answer = whole.client.put("/v1/responses/resp_x", json={})
    assert answer.headers["allow"] == "GET, HEAD, DELETE, OPTIONS"


def test_head_is_get_without_the_body(whole: Whole) -> None:
    get, head = whole.client.get("/version"), whole.client.head("/version")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]
    assert whole.client.head("/v1/chat/completions").status_code == 405


def test_options_says_what_a_path_takes(whole: Whole) -> None:
    answer = whole.client.options("/v1/chat/completions")
    assert (answer.status_code, answer.headers["allow"]) == (204, "POST, OPTIONS")
    assert "access-control-allow-origin" not in answer.headers


def test_a_client_may_name_its_request(whole: Whole) -> None:
    answer = whole.client.get("/version", headers={"x-request-id": "my-own.id:7"})
    assert answer.headers["x-request-id"] == "my-own.id:7"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "a\tb"])
def test_an_ill_formed_request_id_is_replaced(whole: Whole, given: str) -> None:
    answer = whole.client.get("/version", headers={"x-request-id": given})
    assert answer.headers["x-request-id"].startswith("req_")


def test_every_answer_has_an_id_of_its_own(whole: Whole) -> None:
    answers = [whole.client.get(path) for path in ("/version", "/health", "/nothing", "/version")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


def test_anthropic_has_the_id_in_its_own_header_too(whole: Whole) -> None:
    answer = whole.client.post("/v1/messages", json={})
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert "request-id" not in whole.client.get("/version").headers


def test_an_unforeseen_error_is_a_500_that_quotes_nothing(whole: Whole) -> None:
    answer = whole.client.get("/version/bug")
    assert answer.status_code == 500
    request_id = answer.headers["x-request-id"]
    assert request_id in answer.json()["error"]["message"]
    assert SECRET_TEXT not in answer.text
    (bug,) = (line for line in whole.lines() if '"event":"bug"' in line)
    assert request_id in bug
    assert "ValueError" in bug
    assert "test_app.py" in bug
    assert SECRET_TEXT not in whole.written.getvalue()


def test_errors_of_routes_have_their_status_and_headers(whole: Whole) -> None:
    refused = whole.client.get("/version/refused")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "x")
    died = whole.client.get("/version/died")
    assert (died.status_code, died.headers["retry-after"]) == (503, "2")


def test_a_fault_of_the_server_is_explained_in_the_log_only(whole: Whole) -> None:
    answer = whole.client.get("/version/file")
    assert answer.status_code == 500
    assert "model.gguf" not in answer.text
    assert "model.gguf" in whole.written.getvalue()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/admin/models/load"])
def test_hostile_bodies_get_a_4xx(whole: Whole, path: str) -> None:
    for body, headers, status in (
        (b"\xff", JSON, 400),
        (b"{", JSON, 400),
        (b"[" * 100, JSON, 400),
        (b'{"model": "a", "model": "b"}', JSON, 400),
        (b'{"n": NaN}', JSON, 400),
        (b"", JSON, 400),
        (b"[]", JSON, 400),
        (b"7", JSON, 400),
        (b"null", JSON, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {**JSON, "content-encoding": "gzip"}, 415),
    ):
        answer = whole.client.post(path, content=body, headers=headers)
        assert answer.status_code == status, body
        assert "error" in answer.json()


def test_a_body_over_the_limit_is_a_413_that_ends_the_connection(home: Path) -> None:
    with whole_app(home, limits=Limits(body_bytes=100)) as whole:
        answer = whole.client.post("/v1/messages", json={"model": "x" * 200})
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert answer.json()["error"]["type"] == "request_too_large"


def test_the_key_is_asked_for_before_the_body_is_read(home: Path) -> None:
    with whole_app(home, limits=Limits(body_bytes=100)) as whole:
        whole.key("first")
        answer = whole.client.post("/v1/messages", content=b"x" * 200)
    assert answer.status_code == 401


def test_while_draining_only_health_and_counts_answer(whole: Whole) -> None:
    whole.house.draining = True
    for path in ("/version", "/v1/models"):
        answer = whole.client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert whole.client.get("/metrics").status_code == 200
    assert whole.client.get("/healthz").status_code == 200
    health = whole.client.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": "draining"})


def test_pages_elsewhere_may_read_nothing_by_default(whole: Whole) -> None:
    answer = whole.client.get("/version", headers={"origin": "https://else.example"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_named_pages_may_ask_and_read(home: Path) -> None:
    page = "https://app.example"
    with whole_app(home, flags={"allowed_origins": page}) as whole:
        key = whole.key("first")
        asked = {
            "origin": page,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, x-stainless-os",
        }
        leave = whole.client.options("/v1/chat/completions", headers=asked)
        assert leave.status_code == 204
        assert leave.headers["access-control-allow-origin"] == page
        assert "x-stainless-os" in leave.headers["access-control-allow-headers"]
        answer = whole.client.get("/version", headers={**key, "origin": page})
        assert answer.headers["access-control-allow-origin"] == page
        assert answer.headers["vary"] == "Origin"
        refused = whole.client.get("/version", headers={"origin": page})
        # A page must be able to read why it was refused.
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == page
        other = whole.client.get("/version", headers={**key, "origin": "https://else.example"})
        assert "access-control-allow-origin" not in other.headers


def routes_of(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_description_names_every_status(description: dict[str, Any]) -> None:
    described = routes_of(description)
    assert len(described) > 10
    for path, _, operation in described:
        assert "422" not in operation["responses"], path
        if path.startswith("/version/"):
            continue
        missing = {str(status) for status in OPENAPI_ERRORS} - operation["responses"].keys()
        assert not missing, path


def test_every_described_path_is_known_to_the_doors(description: dict[str, Any]) -> None:
    for path in description["paths"]:
        assert path in OPEN_PATHS or scope_of(path), path


def test_operation_ids_are_unique(description: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in routes_of(description)]
    assert len(ids) == len(set(ids))


def test_every_route_but_the_open_ones_asks_for_a_key(
    whole: Whole, description: dict[str, Any]
) -> None:
    whole.key("first")
    for path, method, _ in routes_of(description):
        status = whole.client.request(method, path, json={}).status_code
        assert status == (200 if path in OPEN_PATHS else 401), path
    for path in ("/openapi.json", "/docs", "/redoc", "/", "/nothing"):
        assert whole.client.get(path).status_code == 401, path


def test_no_page_loads_anything_from_elsewhere(whole: Whole) -> None:
    for path in ("/docs", "/redoc"):
        assert whole.client.get(path).status_code == 404
