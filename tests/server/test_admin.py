"""Health, version, and models loaded and unloaded by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold import __version__
from tests.server.scripted import MODEL
from tests.server.whole import Whole, whole_app


@pytest.fixture
def whole(home: Path) -> Iterator[Whole]:
    with whole_app(home) as whole:
        yield whole


@pytest.mark.parametrize("path", ["/health", "/readyz"])
def test_health_is_503_while_models_load(whole: Whole, path: str) -> None:
    assert whole.client.get(path).json() == {"status": "ok"}
    whole.house.residents.ready = False
    answer = whole.client.get(path)
    assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
    assert answer.headers["retry-after"]


def test_a_process_is_alive_while_models_load(whole: Whole) -> None:
    whole.house.residents.ready = False
    assert whole.client.get("/healthz").status_code == 200


def test_open_paths_say_one_word_and_detail_needs_a_key(whole: Whole) -> None:
    key = whole.key("reader", "read")
    for path in ("/health", "/healthz", "/readyz"):
        assert whole.client.get(path).json().keys() == {"status"}
    assert whole.client.get("/v1/health").status_code == 401
    detail = whole.client.get("/v1/health", headers=key).json()
    assert detail["status"] == "ok"
    assert detail["version"] == __version__
    assert detail["models"][0]["model"] == MODEL


def test_version(whole: Whole) -> None:
    assert whole.client.get("/version").json() == {"version": __version__}


def test_metrics_need_their_scope(whole: Whole) -> None:
    assert whole.client.get("/metrics", headers=whole.key("a", "read")).status_code == 403
    page = whole.client.get("/metrics", headers=whole.key("b", "metrics"))
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/plain; version=")


def test_models_are_loaded_and_unloaded_with_the_scope_admin(whole: Whole) -> None:
    reader, admin = whole.key("a", "read", "generate"), whole.key("b", "admin")
    for path in ("/admin/models/load", "/admin/models/unload"):
        body = {"model": MODEL}
        assert whole.client.post(path, json=body, headers=reader).status_code == 403
        answer = whole.client.post(path, json=body, headers=admin)
        assert answer.status_code == 200
        assert answer.json()["models"][0]["model"] == MODEL
    assert whole.client.get("/admin/ps", headers=admin).json()["models"]


@pytest.mark.parametrize("path", ["/admin/models/load", "/admin/models/unload"])
def test_an_unknown_model_is_a_404(whole: Whole, path: str) -> None:
    answer = whole.client.post(path, json={"model": "nonesuch"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": 7}, {"model": "x", "y": 1}])
def test_a_body_of_another_form_is_a_400(whole: Whole, body: dict[str, object]) -> None:
    assert whole.client.post("/admin/models/load", json=body).status_code == 400


def test_there_is_no_route_that_ends_the_server(whole: Whole) -> None:
    assert whole.client.post("/admin/shutdown", json={}).status_code == 404
