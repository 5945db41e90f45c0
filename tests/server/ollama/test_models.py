"""What there is, what is in memory, and what only the command line does."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from freehold import __version__
from freehold.server.cards import ModelCard
from freehold.server.routes.ollama import router
from freehold.server.routes.ollama.models import _drawn, _shown
from freehold.server.routes.ollama.names import ref_of, tagged
from freehold.server.routes.ollama.refused import HINTS
from tests.server.forming import surface_app, surface_client
from tests.server.ollama.asking import post
from tests.server.scripted import CREATED, MODEL, ScriptedResident

NAME = f"{MODEL}:latest"
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "scripted",
    "families": ["scripted"],
    "parameter_size": "1.00M",
    "quantization_level": "Q4_1",
}


def get(path: str) -> Any:
    response = surface_client("ollama", router).get(path)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_version_is_freeholds() -> None:
    assert get("/api/version") == {"version": __version__}


def test_tags_lists_every_model() -> None:
    (model,) = get("/api/tags")["models"]
    assert datetime.fromisoformat(model.pop("modified_at")).timestamp() == CREATED
    assert model == {
        "name": NAME,
        "model": NAME,
        "size": 1_000_000,
        "digest": "ab" * 32,
        "details": DETAILS,
    }


def test_ps_says_what_is_in_memory() -> None:
    (model,) = get("/api/ps")["models"]
    assert datetime.fromisoformat(model.pop("expires_at")).year == 9999
    assert model == {
        "name": NAME,
        "model": NAME,
        "size": 2_000_000,
        "size_vram": 0,
        "context_length": 2048,
        "digest": "ab" * 32,
        "details": DETAILS,
    }


def test_ps_says_when_a_model_leaves() -> None:
    with surface_client("ollama", router) as client:
        client.post("/api/generate", json={"model": MODEL, "keep_alive": "1h"})
        (model,) = client.get("/api/ps").json()["models"]
    left = datetime.fromisoformat(model["expires_at"]) - datetime.now().astimezone()
    assert 3500 < left.total_seconds() <= 3600


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_keep_alive_zero_unloads(path: str) -> None:
    app = surface_app("ollama", router)
    unloaded = []

    async def unload(ref: str) -> None:
        unloaded.append(ref)

    app.state.house.residents.unload = unload
    reply = TestClient(app).post(path, json={"model": NAME, "keep_alive": 0}).json()
    assert reply["done_reason"] == "unload"
    assert unloaded == [MODEL]


CARD = ModelCard(
    id="starter",
    created=CREATED,
    kind="chat",
    path=Path("starter.gguf"),
    size_bytes=1,
    family="scripted",
    parameters=134_515_008,
    quantization="Q4_1",
    context_tokens=2048,
    licence="Apache-2.0",
    system="You are helpful.",
)
METADATA: dict[str, object] = {
    "general.architecture": "scripted",
    "tokenizer.chat_template": "{{ messages }}",
    "tokenizer.ggml.tokens": ["a"] * 100,
    "tokenizer.ggml.scores": np.zeros(3, np.float32),
}


def test_show_tells_what_the_file_and_the_card_say() -> None:
    shown = _shown(CARD, METADATA, {}, verbose=False)
    assert shown["template"] == "{{ messages }}"
    assert shown["parameters"] == "num_ctx 2048"
    assert shown["license"] == "Apache-2.0"
    assert shown["system"] == "You are helpful."
    assert shown["details"]["parameter_size"] == "134.52M"
    assert shown["capabilities"] == ["completion", "tools"]
    for line in ("FROM starter", "PARAMETER num_ctx 2048", 'TEMPLATE """{{ messages }}"""'):
        assert line in shown["modelfile"].splitlines()
    assert shown["model_info"]["tokenizer.ggml.tokens"] is None
    assert shown["model_info"]["tokenizer.ggml.scores"] == [0.0, 0.0, 0.0]


def test_show_tells_how_answers_are_drawn_unless_said_otherwise() -> None:
    said = {"temp": 0.7, "top_k": 20, "penalty_repeat": 1.05, "penalty_last_n": -1}
    metadata = {f"general.sampling.{name}": value for name, value in said.items()}
    shown = _shown(CARD, metadata, _drawn(CARD, metadata), verbose=False)
    assert shown["parameters"].splitlines() == [
        "num_ctx 2048",
        "temperature 0.7",
        "top_k 20",
        "repeat_penalty 1.05",
        "repeat_last_n -1",
    ]
    assert "PARAMETER top_k 20" in shown["modelfile"].splitlines()


def test_show_gives_long_lists_when_asked() -> None:
    shown = _shown(CARD, METADATA, {}, verbose=True)
    assert len(shown["model_info"]["tokenizer.ggml.tokens"]) == 100


def test_a_template_that_knows_reasoning_can_think() -> None:
    metadata = {"tokenizer.chat_template": "{{ '<think>' }}{{ '</think>' }}"}
    assert _shown(CARD, metadata, {}, verbose=False)["capabilities"][-1] == "thinking"


def test_a_base_model_can_only_complete() -> None:
    assert _shown(CARD, {}, {}, verbose=False)["capabilities"] == ["completion"]


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"model": "elsewhere"}, 404, "elsewhere"),
        ({"model": None}, 400, "model"),
        ({"template": "x"}, 400, "template"),
        ({"system": "x"}, 400, "system"),
        ({"options": {"seed": 1}}, 400, "options"),
    ],
)
def test_show_refuses_by_name(fields: dict[str, Any], status: int, named: str) -> None:
    response = post("/api/show", ScriptedResident(), **fields)
    assert response.status_code == status
    assert named in response.json()["error"]


def test_a_model_whose_file_is_gone_is_not_found() -> None:
    response = post("/api/show", ScriptedResident())
    assert response.status_code == 404
    assert "file" in response.json()["error"]


@pytest.mark.parametrize(("path", "method"), HINTS)
def test_what_changes_models_is_refused(path: str, method: str) -> None:
    client = surface_client("ollama", router)
    response = client.request(method, path.replace("{digest}", "sha256:00"), json={"model": MODEL})
    assert response.status_code == 400
    if method != "HEAD":
        assert "not offered over HTTP" in response.json()["error"]


def test_names_have_a_tag_outside() -> None:
    assert [tagged("starter"), tagged("org/model:Q4_K_M")] == ["starter:latest", "org/model:Q4_K_M"]
    assert [ref_of("starter:latest"), ref_of("starter"), ref_of("org/model:Q4_K_M")] == [
        "starter",
        "starter",
        "org/model:Q4_K_M",
    ]
