"""Each request has one line, which says who, what, how long, and never a text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from freehold.server.logs import Log, RequestRecord
from tests.server.scripted import MODEL
from tests.server.whole import whole_app

PROMPT = "where is the treasure buried"
SECRET = "fh_" + "not-a-key-at-all"


def test_a_json_line_has_every_fact(home: Path) -> None:
    with whole_app(home) as whole:
        key = whole.key("reader", "read")
        whole.client.get("/v1/models", headers={**key, "x-request-id": "mine"})
        (line,) = whole.lines()
    facts = json.loads(line)
    assert facts.pop("time").endswith("Z")
    assert facts.pop("seconds") >= 0
    assert facts.pop("key").startswith("key_")
    assert facts == {
        "event": "request",
        "request": "mine",
        "method": "GET",
        "route": "/v1/models",
        "status": 200,
    }


def test_a_text_line_has_the_same_facts(home: Path) -> None:
    with whole_app(home, form="text") as whole:
        whole.client.get("/version", headers={"x-request-id": "mine"})
        (line,) = whole.lines()
    _, event, *pairs = line.split()
    assert event == "request"
    facts = dict(pair.split("=") for pair in pairs)
    assert facts.pop("seconds")
    assert facts == {
        "request": "mine",
        "key": "local",
        "method": "GET",
        "route": "/version",
        "status": "200",
    }


def post(whole: Any, path: str, body: Mapping[str, object], **headers: str) -> int:
    status: int = whole.client.post(path + f"?q={PROMPT}", json=body, headers=headers).status_code
    return status


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_holds_a_prompt_a_query_a_path_or_a_header(home: Path, form: Any) -> None:
    messages = [{"role": "user", "content": PROMPT}]
    with whole_app(home, form=form) as whole:
        chat = {"model": MODEL, "messages": messages}
        statuses = [
            post(whole, "/v1/chat/completions", chat),
            post(whole, "/v1/messages", {**chat, "max_tokens": 5}),
            post(whole, "/v1/chat/completions", {**chat, "temperature": PROMPT}),
            post(whole, "/v1/chat/completions", {**chat, PROMPT: 1}),
            post(whole, "/v1/chat/completions", {**chat, "model": PROMPT}),
            post(whole, f"/admin/{PROMPT}", chat),
            post(whole, f"/v1/responses/{PROMPT}", chat),
            post(whole, "/v1/chat/completions", chat, authorization=f"Bearer {SECRET}"),
            post(whole, "/v1/chat/completions", chat, **{"user-agent": PROMPT}),
        ]
        written = whole.written.getvalue()
    assert statuses[:3] == [200, 200, 400]
    assert len(written.splitlines()) == len(statuses)
    for word in ("treasure", PROMPT, SECRET, "Hello"):
        assert word not in written


def test_watching_health_does_not_fill_the_log(home: Path) -> None:
    with whole_app(home) as whole:
        whole.client.get("/health")
        assert whole.lines() == []
        whole.house.residents.ready = False
        whole.client.get("/health")
        assert len(whole.lines()) == 1


def test_counts_are_there_where_a_model_answered() -> None:
    record = RequestRecord(id="r", method="POST", complete=True, model="m")
    record.prompt_tokens, record.completion_tokens = 10, 3
    facts = record.facts()
    assert (facts["model"], facts["prompt_tokens"], facts["completion_tokens"]) == ("m", 10, 3)
    assert "prompt_tokens" not in RequestRecord(id="r", method="GET").facts()


def test_an_answer_that_was_not_sent_whole_says_so() -> None:
    assert RequestRecord(id="r", method="GET").facts()["aborted"] is True
    assert "aborted" not in RequestRecord(id="r", method="GET", complete=True).facts()


def test_a_value_cannot_forge_a_line_or_a_field() -> None:
    written = StringIO()
    Log("text", to=written).event("x", {"a": "b\nrequest c=d", "e": 'f="g"', "h": "", "i": True})
    (line,) = written.getvalue().splitlines()
    assert line.endswith(r'x a="b\nrequest c=d" e="f=\"g\"" h="" i=true')


def nested_bug() -> ValueError:
    try:
        try:
            raise KeyError(PROMPT)
        except KeyError as error:
            raise ValueError(PROMPT) from error
    except ValueError as error:
        return error


def test_a_bug_says_where_and_not_what() -> None:
    written = StringIO()
    Log("json", to=written).bug(nested_bug(), request_id="r")
    facts = json.loads(written.getvalue())
    assert facts["kind"] == "ValueError"
    assert [line for line in facts["trace"] if line.endswith("Error")] == ["ValueError", "KeyError"]
    assert any("nested_bug" in line for line in facts["trace"])
    assert PROMPT not in written.getvalue()
