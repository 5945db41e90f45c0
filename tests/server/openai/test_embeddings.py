"""POST /v1/embeddings over a scripted embedder."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from freehold.server.routes.openai.embeddings import MAX_INPUTS, router
from tests.server.openai.embedder import WIDTH, ScriptedEmbedder, client, vector


def post(embedder: ScriptedEmbedder | None = None, **fields: Any) -> Any:
    return client(router, embedder).post("/v1/embeddings", json={"model": "embedder"} | fields)


def embed(embedder: ScriptedEmbedder | None = None, **fields: Any) -> dict[str, Any]:
    response = post(embedder, **fields)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply


def test_a_text_has_a_vector() -> None:
    reply = embed(input="a bb bb")
    assert reply["object"] == "list"
    assert reply["model"] == "embedder"
    assert reply["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    (entry,) = reply["data"]
    assert (entry["object"], entry["index"]) == ("embedding", 0)
    assert entry["embedding"] == pytest.approx([1 / 5**0.5, 2 / 5**0.5, 0, 0])
    assert "truncated" not in reply


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("a bb", [[1, 11, 12, 2]]),
        (["a", "bb ccc"], [[1, 11, 2], [1, 12, 13, 2]]),
        ([1, 11, 2], [[1, 11, 2]]),
        ([[1, 11, 2], [1, 12, 12, 2]], [[1, 11, 2], [1, 12, 12, 2]]),
    ],
    ids=["text", "texts", "tokens", "lists of tokens"],
)
def test_every_form_of_input_is_read(given: object, asked: list[list[int]]) -> None:
    embedder = ScriptedEmbedder()
    reply = embed(embedder, input=given)
    assert embedder.asked == asked
    assert [entry["index"] for entry in reply["data"]] == list(range(len(asked)))
    for entry, tokens in zip(reply["data"], asked, strict=True):
        assert np.array_equal(np.array(entry["embedding"], np.float32), vector(tokens))


def test_base64_holds_the_same_numbers() -> None:
    floats = embed(input=["a bb", "ccc"])["data"]
    for plain, packed in zip(
        floats, embed(input=["a bb", "ccc"], encoding_format="base64")["data"], strict=True
    ):
        raw = base64.b64decode(packed["embedding"], validate=True)
        assert np.array_equal(np.frombuffer(raw, "<f4"), np.array(plain["embedding"], np.float32))


def test_fewer_dimensions_have_length_one_again() -> None:
    (entry,) = embed(input="a bb bb dddd", dimensions=2)["data"]
    assert entry["embedding"] == pytest.approx([1 / 5**0.5, 2 / 5**0.5])
    whole = embed(input="a bb")["data"]
    assert embed(input="a bb", dimensions=WIDTH)["data"] == whole
    assert embed(input="a bb", dimensions=None, user="me", encoding_format="float")["data"] == whole


def test_a_text_too_long_is_refused_with_both_numbers() -> None:
    response = post(input=["a", "a " * 20])
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == ("input.1", "context_length_exceeded")
    assert "22 tokens" in error["message"]
    assert "8" in error["message"]


@pytest.mark.parametrize(("limit", "kept"), [(-1, 8), (5, 5), (8, 8)])
def test_a_text_is_cut_when_asked_and_the_reply_says_so(limit: int, kept: int) -> None:
    embedder = ScriptedEmbedder()
    reply = embed(embedder, input=["a", "a " * 20], truncate_prompt_tokens=limit)
    assert reply["truncated"] == [1]
    assert embedder.asked[1] == [1, *[11] * (kept - 2), 2]
    assert reply["usage"]["prompt_tokens"] == 3 + kept


def test_as_many_inputs_as_documented_are_taken() -> None:
    assert len(embed(input=["a"] * MAX_INPUTS)["data"]) == MAX_INPUTS


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"input": ""}, "input.0"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": None}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [[1], "a"]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": [[1, 2], [1, 100, 2]]}, "input.1"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": WIDTH + 1}, "dimensions"),
        ({"dimensions": "2"}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"truncate_prompt_tokens": 2}, "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": 9}, "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        ({"add_special_tokens": False}, "add_special_tokens"),
        ({"input_type": "query"}, "input_type"),
        ({"user": 7}, "user"),
        ({"prompt": "a"}, "prompt"),
        ({"model": None}, "model"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    embedder = ScriptedEmbedder()
    response = post(embedder, **{"input": "a"} | fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == named
    assert embedder.asked == []


def test_neutral_values_of_what_is_not_offered_are_taken() -> None:
    embed(input="a", add_special_tokens=True, priority=0, normalize=None)


def test_an_unknown_model_is_404() -> None:
    assert post(input="a", model="nonesuch").status_code == 404
