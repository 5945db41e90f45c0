"""Every surface that answers or embeds: what it takes, and what its refusals must look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from freehold.server.http_errors import surface_of
from tests.server.live import LiveServer

__all__ = [
    "CHATTING",
    "EMBEDDING",
    "GENERATING",
    "SECRET",
    "SURFACES",
    "USER",
    "Surface",
    "client",
    "no_prompt_in_the_log",
    "post",
    "refused",
]

SECRET = "Zebulon-4711"
USER = {"role": "user", "content": SECRET}
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Surface:
    """A path, a body that it answers, where that has its text, and how it bounds the answer.

    With the fields of `endless` no answer ends before its limit.
    """

    path: str
    body: Mapping[str, Any]
    text: str
    limit: str | None = None
    does: str = "generate"
    endless: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> str | None:
        return "options" if self.path.startswith("/api/") else None

    def asked(self, **changes: Any) -> dict[str, Any]:
        """The body with these sampling fields, where this surface has them."""
        if self.options is None:
            return {**self.body, **changes}
        return {**self.body, "options": {**self.body.get("options", {}), **changes}}

    def saying(self, text: str) -> dict[str, Any]:
        said = [{"role": "user", "content": text}] if self.text == "messages" else text
        return {**self.body, self.text: said}


# More than any limit of the tests lets be written: one token has at most some twenty characters.
LONG = {
    "type": "object",
    "properties": {
        "a": {"type": "array", "items": {"type": "string", "minLength": 10_000}, "minItems": 10}
    },
    "required": ["a"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "schema": LONG}
SURFACES = {
    surface.path: surface
    for surface in (
        Surface(
            "/v1/chat/completions",
            {"messages": [USER], "max_tokens": 2},
            "messages",
            "max_tokens",
            endless={"ignore_eos": True},
        ),
        Surface(
            "/v1/completions",
            {"prompt": SECRET, "max_tokens": 2},
            "prompt",
            "max_tokens",
            endless={"ignore_eos": True},
        ),
        Surface(
            "/v1/responses",
            {"input": SECRET, "max_output_tokens": 16},
            "input",
            "max_output_tokens",
            endless={"text": {"format": {"name": "long", **FORMAT}}},
        ),
        Surface(
            "/v1/messages",
            {"messages": [USER], "max_tokens": 2},
            "messages",
            "max_tokens",
            endless={"output_config": {"format": FORMAT}},
        ),
        Surface(
            "/api/chat",
            {"messages": [USER], "stream": False, "options": {"num_predict": 2}},
            "messages",
            "num_predict",
            endless={"format": LONG},
        ),
        Surface(
            "/api/generate",
            {"prompt": SECRET, "stream": False, "options": {"num_predict": 2}},
            "prompt",
            "num_predict",
            endless={"format": LONG},
        ),
        Surface("/v1/embeddings", {"input": SECRET}, "input", does="embed"),
        Surface("/v1/rerank", {"query": SECRET, "documents": [SECRET]}, "query", does="embed"),
        Surface("/api/embed", {"input": SECRET}, "input", does="embed"),
    )
}
GENERATING = [path for path, surface in SURFACES.items() if surface.does == "generate"]
EMBEDDING = [path for path, surface in SURFACES.items() if surface.does == "embed"]
CHATTING = ["/v1/chat/completions", "/v1/messages", "/api/chat"]


@pytest.fixture(scope="module")
def client(live_server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live_server.url, timeout=60, headers=JSON) as client:
        yield client


@pytest.fixture
def no_prompt_in_the_log(live_server: LiveServer) -> Iterator[None]:
    yield
    assert SECRET not in live_server.log.read_text()


def refused(answer: httpx.Response, status: int = 400) -> str:
    """What a refusal says, with the field it names; its form is checked."""
    assert answer.status_code == status, answer.text[:500]
    assert SECRET not in answer.text
    assert answer.headers["x-request-id"].startswith("req_")
    body = answer.json()
    match surface_of(answer.request.url.path):
        case "ollama":
            assert body.keys() == {"error"}
            return str(body["error"])
        case "anthropic":
            assert body.keys() == {"type", "error", "request_id"}
            assert body["request_id"] == answer.headers["request-id"]
        case "openai":
            assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["type"] != "server_error"
    named = body["error"].get("param")
    return str(body["error"]["message"]) + (f" ({named})" if named else "")


def post(client: httpx.Client, live: LiveServer, path: str, body: Any) -> httpx.Response:
    return client.post(path, json={"model": live.model, **body})
