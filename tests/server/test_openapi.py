"""Requests generated from the published OpenAPI, sent to the real server over the real model.

None may find a 5xx, an undocumented status or an error in another form than its surface's. Here few
requests for each route; `make probe` sends many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from freehold.server.accounting import Accounting
from freehold.server.app import Outside, create_app
from freehold.server.http_errors import surface_of
from tests.server.live import LiveServer

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SHORT, LONG = 12, 300
TOKENS = 3
CONVERSATION = [{"role": "user", "content": "Say hello."}]
# What a generated body is given in place of its own, so that most reach the model and end soon.
VALID: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CONVERSATION, "max_completion_tokens": TOKENS},
    "/v1/completions": {"prompt": "Once upon", "max_tokens": TOKENS},
    "/v1/responses": {"input": "Say hello.", "max_output_tokens": 16},
    "/v1/responses/input_tokens": {"input": "Say hello."},
    "/v1/messages": {"messages": CONVERSATION, "max_tokens": TOKENS},
    "/v1/messages/count_tokens": {"messages": CONVERSATION},
    "/api/chat": {"messages": CONVERSATION, "options": {"num_predict": TOKENS}},
    "/api/generate": {"prompt": "Once upon", "options": {"num_predict": TOKENS}},
    "/tokenize": {"prompt": "Once upon"},
}
# Only a model's name: what they do to one is tested where nobody else uses it.
UNSTEERED = ("/admin/models/load", "/admin/models/unload")


def published() -> Any:
    """The description, of an app that nobody asks anything."""
    keys: Any = SimpleNamespace(store=SimpleNamespace(keys=None), accounting=Accounting())
    return schemathesis.openapi.from_dict(create_app(keys, outside=Outside()).openapi())


SCHEMA = published()
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}


def steered(path: str, body: Any, draw: st.DataObject, model: str) -> Any:
    """A body that gets further: the server's model, mostly a valid question, a short answer."""
    if not isinstance(body, dict) or path in UNSTEERED:
        return body
    valid = VALID.get(path, {})
    is_question = draw.draw(st.booleans(), label="two of its fields, in a valid question")
    if body and valid and is_question:
        two = draw.draw(st.lists(st.sampled_from(sorted(body)), max_size=2), label="which")
        body = valid | {name: body[name] for name in two}
    if draw.draw(st.integers(0, 9), label="the server's model") > 0:
        body = {**body, "model": model}
    for name, value in valid.items():
        is_limit = "tokens" in name or name == "options"
        if is_limit or draw.draw(st.booleans(), label=f"a valid {name}"):
            body = {**body, name: value}
    for name, value in list(body.items()):
        # Where a surface has two names for it, or counts answers, too.
        if re.fullmatch(r"max_tokens|n|best_of", name) and isinstance(value, int):
            body[name] = min(value, TOKENS)
    return body


def check_refusal(path: str, answer: Any) -> None:
    """An error has a request id, and its surface's form."""
    assert re.fullmatch(r"[\w.:-]+", answer.headers["x-request-id"][0])
    if b'"server_error"' in answer.content or b'"api_error"' in answer.content:
        pytest.fail(f"a fault of the server, in a stream: {answer.text[-500:]}")
    if answer.status_code < 400 or not answer.content:
        return
    error = answer.json()
    match surface_of(path):
        case "ollama":
            assert isinstance(error["error"], str)
        case "anthropic":
            assert error["type"] == "error"
            assert error["request_id"] == answer.headers["x-request-id"][0]
            assert error["error"].keys() == {"type", "message"}
        case "openai":
            assert error["error"].keys() == {"message", "type", "param", "code"}


def probe(label: str, live: LiveServer, mode: GenerationMode, count: int) -> set[int]:
    """The statuses of so many generated requests."""
    seen: set[int] = set()
    operation = OPERATIONS[label]

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=count <= SHORT,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), draw=st.data())
    def ask(case: Any, draw: st.DataObject) -> None:
        case.body = steered(operation.path, case.body, draw, live.model)
        answer = case.call(base_url=live.url, timeout=60)
        case.validate_response(answer, checks=CHECKS)
        check_refusal(operation.path, answer)
        seen.add(answer.status_code)

    ask()
    return seen


@pytest.mark.weights
@pytest.mark.parametrize("label", OPERATIONS)
def test_generated_requests_find_no_fault(live_server: LiveServer, label: str) -> None:
    check(label, live_server, SHORT, others=SHORT // 3)


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("label", OPERATIONS)
def test_many_generated_requests_find_no_fault(live_server: LiveServer, label: str) -> None:
    check(label, live_server, LONG, others=LONG)


def check(label: str, live: LiveServer, count: int, *, others: int) -> None:
    """Probes with so many requests that could reach a model, and so many `others` of each kind."""
    operation = OPERATIONS[label]
    if operation.path in VALID:
        seen = probe(label, live, GenerationMode.POSITIVE, count)
        assert 200 in seen, "no request got as far as the model"
    else:
        probe(label, live, GenerationMode.POSITIVE, others)
    if operation.body or operation.query:
        probe(label, live, GenerationMode.NEGATIVE, others)


@pytest.mark.weights
def test_the_server_publishes_what_is_probed(live_server: LiveServer) -> None:
    description = httpx.get(f"{live_server.url}/openapi.json", timeout=30).json()
    labels = {f"{m.upper()} {p}" for p, methods in description["paths"].items() for m in methods}
    assert labels == set(OPERATIONS)


@pytest.mark.weights
def test_no_request_so_far_met_a_bug(live_server: LiveServer) -> None:
    assert [line for line in live_server.log.read_text().splitlines() if '"bug"' in line] == []
