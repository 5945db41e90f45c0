"""POST /v1/rerank over a scripted embedder."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.server.routes.openai.rerank import MAX_DOCUMENTS, router
from tests.server.openai.embedder import ScriptedEmbedder, client

DOCUMENTS = ["bb", "a bb", "a", "ccc"]


def post(embedder: ScriptedEmbedder | None = None, path: str = "/v1/rerank", **fields: Any) -> Any:
    body = {"model": "embedder", "query": "a", "documents": DOCUMENTS} | fields
    return client(router, embedder).post(path, json=body)


def ranked(embedder: ScriptedEmbedder | None = None, **fields: Any) -> dict[str, Any]:
    response = post(embedder, **fields)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply


def test_documents_come_best_first_with_their_cosines() -> None:
    reply = ranked()
    assert [result["index"] for result in reply["results"]] == [2, 1, 0, 3]
    scores = [result["relevance_score"] for result in reply["results"]]
    assert scores == pytest.approx([1, 0.5**0.5, 0, 0])
    assert (reply["model"], reply["scoring"]) == ("embedder", "cosine")
    assert reply["usage"] == {"prompt_tokens": 16, "total_tokens": 16}
    assert reply["id"].startswith("rerank-")
    assert all("document" not in result for result in reply["results"])
    assert "truncated" not in reply


def test_query_and_documents_are_read_together() -> None:
    embedder = ScriptedEmbedder()
    ranked(embedder, documents=[{"text": "bb"}, "ccc"])
    assert embedder.asked == [[1, 11, 2], [1, 12, 2], [1, 13, 2]]


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (4, 4), (100, 4), (None, 4)])
def test_only_the_best_are_given_when_asked(top_n: int | None, count: int) -> None:
    results = ranked(top_n=top_n)["results"]
    assert [result["index"] for result in results] == [2, 1, 0, 3][:count]


def test_documents_are_repeated_when_asked() -> None:
    for result in ranked(return_documents=True, documents=["a", {"text": "bb"}])["results"]:
        assert result["document"] == {"text": ["a", "bb"][result["index"]]}


def test_equal_documents_keep_their_order_and_nothing_scores_zero() -> None:
    reply = ranked(documents=["", "a", "a", ""])
    assert [result["index"] for result in reply["results"]] == [1, 2, 0, 3]


def test_the_other_path_is_the_same() -> None:
    assert post(path="/rerank").json()["results"] == ranked()["results"]


def test_documents_too_long_are_refused_or_cut_as_asked() -> None:
    long = ["a", "a " * 20]
    response = post(documents=long)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "documents.1"
    assert ranked(documents=long, max_tokens_per_doc=-1)["truncated"] == [1]
    assert ranked(documents=long, max_tokens_per_doc=4)["usage"]["prompt_tokens"] == 3 + 3 + 4
    assert post(query="a " * 20, max_tokens_per_doc=-1).json()["error"]["param"] == "query"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": [1]}, "documents"),
        ({"documents": [{"title": "a"}]}, "documents"),
        ({"documents": [{"text": "a", "title": "b"}]}, "documents"),
        ({"documents": ["a"] * (MAX_DOCUMENTS + 1)}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
        ({"max_tokens_per_doc": 9}, "max_tokens_per_doc"),
        ({"max_chunks_per_doc": 3}, "max_chunks_per_doc"),
        ({"rank_fields": ["text"]}, "rank_fields"),
        ({"temperature": 1}, "temperature"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    embedder = ScriptedEmbedder()
    response = post(embedder, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == named
    assert embedder.asked == []
