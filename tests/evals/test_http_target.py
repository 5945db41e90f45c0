"""A server's model answers and weighs over HTTP; what the server cannot do is said."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from freehold.errors import PromptTooLong, TargetFailed
from freehold.evals import Generation, Pair, http_target
from freehold.evals.http_target import HttpTarget
from freehold.evals.items import Prompt

Body = dict[str, Any]


class Answers(httpx.BaseTransport):
    """Tokens are letters; each is as surprising as its place in the alphabet."""

    def __init__(self, *, failing: int = 0, echo: bool = True) -> None:
        self.failing = failing
        self.echo = echo
        self.asked: list[tuple[str, Body, httpx.Headers]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.asked.append((request.url.path, body, request.headers))
        if self.failing > 0:
            self.failing -= 1
            return httpx.Response(503, json={"error": {"code": "capacity.loading"}})
        if request.url.path.endswith("/tokenize"):
            text = body.get("prompt") or "<" + body["messages"][-1]["content"] + ">"
            return httpx.Response(200, json={"tokens": [ord(c) for c in text]})
        if request.url.path.endswith("/chat/completions"):
            said = {"message": {"content": body["messages"][-1]["content"].upper()}}
            return httpx.Response(200, json={"choices": [{**said, "finish_reason": "stop"}]})
        return self._completion(body)

    def _completion(self, body: Body) -> httpx.Response:
        prompt = body["prompt"]
        text = prompt if isinstance(prompt, str) else "".join(map(chr, prompt))
        if len(text) > 40:
            error = {"code": "context_length_exceeded"}
            return httpx.Response(400, json={"error": error})
        choice: Body = {"text": "said", "finish_reason": "length", "logprobs": None}
        if body.get("echo") and self.echo:
            logprobs = [None, *(-float(ord(c) % 32) for c in text[1:])]
            tops = [None, *({"a": -1.0} for _ in text[1:])]
            offsets = list(range(len(text)))
            choice["logprobs"] = {
                "token_logprobs": logprobs,
                "top_logprobs": tops,
                "text_offset": offsets,
            }
        return httpx.Response(200, json={"choices": [choice], "usage": {"prompt_tokens": 3}})


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def target(answers: Answers) -> HttpTarget:
    return HttpTarget("http://server.test/v1", "m", transport=answers)


def test_messages_and_texts_are_answered_each_by_its_own_path() -> None:
    answers = Answers()
    prompts: list[Prompt] = ["go on", ({"role": "user", "content": "hello"},)]
    how = Generation(max_tokens=4, stop=("\n",), seed=3)
    found = dict(target(answers).generate(prompts, how))
    assert (found[0].text, found[1].text) == ("said", "HELLO")
    assert {path for path, _, _ in answers.asked} == {"/v1/completions", "/v1/chat/completions"}
    assert all(body["stop"] == ["\n"] and body["seed"] == 3 for _, body, _ in answers.asked)


def test_a_continuation_is_weighed_by_its_own_tokens() -> None:
    found = dict(target(Answers()).score([(Pair("xyz", "ab"), Pair("xyz ", "ab"))]))
    first, spaced = found[0]
    assert (first.logprob, first.tokens, first.greedy) == (-3.0, 2, False)
    assert spaced.tokens == 3  # the space that ended the prompt is weighed too
    ((_, (likely,)),) = target(Answers()).score([(Pair("xyz", "a"),)])
    assert likely.greedy


def test_an_answer_to_messages_is_weighed_after_the_servers_own_rendering() -> None:
    answers = Answers()
    messages = ({"role": "user", "content": "hi"},)
    ((_, (found,)),) = target(answers).score([(Pair(messages, "ab"),)])
    assert found.logprob == -3.0
    assert answers.asked[-1][1]["prompt"] == [ord(c) for c in "<hi>ab"]


def test_a_text_is_read_whole() -> None:
    ((_, found),) = target(Answers()).read(["abc"])
    assert (found.logprob, found.tokens) == (-5.0, 2)


def test_what_passes_is_tried_again() -> None:
    answers = Answers(failing=2)
    ((_, found),) = target(answers).generate(["go"], Generation())
    assert found.text == "said"
    assert len(answers.asked) == 3


def test_a_server_that_stays_away_fails_the_run() -> None:
    with pytest.raises(TargetFailed, match="503"):
        list(target(Answers(failing=99)).generate(["go"], Generation()))


def test_an_item_that_is_too_long_is_refused_alone() -> None:
    found = dict(target(Answers()).generate(["a", "b" * 99], Generation()))
    assert found[0].refused is None
    assert isinstance(found[1].refused, PromptTooLong)


def test_a_server_without_log_probabilities_of_prompts_is_told_of() -> None:
    with pytest.raises(TargetFailed, match="log probabilities"):
        list(target(Answers(echo=False)).score([(Pair("a", "b"),)]))


def test_the_key_is_shown_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(http_target.KEY_VARIABLE, "a-secret")
    answers = Answers()
    asked = target(answers)
    list(asked.generate(["go"], Generation()))
    assert answers.asked[0][2]["authorization"] == "Bearer a-secret"
    assert "a-secret" not in repr(asked) + repr(asked.identity)
