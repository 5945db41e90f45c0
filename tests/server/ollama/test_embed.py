"""/api/embed and /api/embeddings over a scripted embedder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from freehold.server.routes.ollama import router
from tests.server.forming import surface_app


class Words:
    """A token for each word, between a beginning (1) and an end (2)."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[1, *(10 + len(word) for word in text.split()), 2] for text in texts]

    def cut(self, ids: list[int], limit: int) -> list[int]:
        return [*ids[: limit - 1], ids[-1]]


@dataclass
class Embedder:
    name: str = "embedder"
    width: int = 4
    context_tokens: int = 5
    tokenizer: Words = field(default_factory=Words)
    asked: list[list[int]] = field(default_factory=list)

    async def embed(self, texts: list[list[int]], asker: object) -> NDArray[np.float32]:
        self.asked += texts
        vectors = np.array([[3, 4, 0, len(text)] for text in texts], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]


def post(path: str, embedder: Embedder | None = None, **fields: Any) -> Any:
    app = surface_app("ollama", router)
    app.state.house.residents.embedders["embedder"] = embedder or Embedder()
    return TestClient(app).post(path, json={"model": "embedder"} | fields)


def embed(embedder: Embedder | None = None, **fields: Any) -> dict[str, Any]:
    response = post("/api/embed", embedder, **fields)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply


def test_a_text_has_a_vector() -> None:
    reply = embed(input="one two", model="embedder:latest")
    assert np.allclose(reply["embeddings"], [[3 / 41**0.5, 4 / 41**0.5, 0, 4 / 41**0.5]])
    assert (reply["model"], reply["prompt_eval_count"]) == ("embedder:latest", 4)
    assert reply["total_duration"] >= reply["load_duration"] >= 0
    assert "truncated" not in reply


def test_texts_have_vectors_in_their_order() -> None:
    embedder = Embedder()
    assert len(embed(embedder, input=["a", "b c"])["embeddings"]) == 2
    assert embedder.asked == [[1, 11, 2], [1, 11, 11, 2]]


def test_no_texts_have_no_vectors() -> None:
    assert embed(input=[])["embeddings"] == []


def test_fewer_dimensions_have_length_one_again() -> None:
    assert np.allclose(embed(input="a", dimensions=2)["embeddings"], [[0.6, 0.8]])


@pytest.mark.parametrize("truncate", [None, False])
def test_a_text_that_is_too_long_is_refused(truncate: bool | None) -> None:
    response = post("/api/embed", input=["a", "a b c d"], truncate=truncate)
    assert response.status_code == 400
    assert "input.1: text 1 has 6 tokens and this model reads 5" in response.json()["error"]


def test_a_text_is_cut_when_asked_and_the_reply_says_so() -> None:
    embedder = Embedder()
    reply = embed(embedder, input=["a", "a bb ccc dddd"], truncate=True)
    assert reply["truncated"] == [1]
    assert embedder.asked[1] == [1, 11, 12, 13, 2]
    assert reply["prompt_eval_count"] == 8


def test_a_smaller_context_counts() -> None:
    fields: dict[str, Any] = {"input": "a b", "options": {"num_ctx": 3}}
    assert post("/api/embed", **fields).status_code == 400
    assert embed(**fields, truncate=True)["truncated"] == [0]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 5}, "dimensions"),
        ({"input": None}, "input"),
        ({"input": [1, 2]}, "input.0"),
        ({"options": {"temperature": 0.5}}, "options.temperature"),
        ({"options": {"num_thread": 4}}, "options.num_thread"),
        ({"options": {"num_ctx": 6}}, "options.num_ctx"),
        ({"keep_alive": "long"}, "keep_alive"),
        ({"prompt": "a"}, "prompt"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    response = post("/api/embed", **{"input": "a"} | fields)
    assert response.status_code == 400
    assert named in response.json()["error"]


def test_the_older_path_gives_one_vector() -> None:
    response = post("/api/embeddings", prompt="one two")
    assert response.json() == {"embedding": embed(input="one two")["embeddings"][0]}


def test_the_older_path_without_a_text_only_loads() -> None:
    assert post("/api/embeddings", prompt="").json() == {"embedding": []}
