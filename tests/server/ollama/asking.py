"""Requests to Ollama's paths over a scripted resident, and what came of them."""

from __future__ import annotations

import json
from typing import Any

from freehold.server.ask import Ask
from freehold.server.routes.ollama import router
from tests.server.forming import surface_client
from tests.server.scripted import MODEL, ScriptedResident

HELLO = [{"role": "user", "content": "Hello"}]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def post(path: str, resident: ScriptedResident | None = None, **fields: Any) -> Any:
    return surface_client("ollama", router, resident).post(path, json={"model": MODEL} | fields)


def chat(resident: ScriptedResident | None = None, **fields: Any) -> Any:
    return post("/api/chat", resident, **{"messages": HELLO, "stream": False} | fields)


def generate(resident: ScriptedResident | None = None, **fields: Any) -> Any:
    return post("/api/generate", resident, **{"prompt": "Hello", "stream": False} | fields)


def asked(path: str = "/api/chat", **fields: Any) -> Ask:
    """What the resident was asked for such a request."""
    resident = ScriptedResident()
    response = (chat if path == "/api/chat" else generate)(resident, **fields)
    assert response.status_code == 200, response.text
    return resident.asks[-1]


def refusal(path: str = "/api/chat", **fields: Any) -> str:
    """The message of the 400 that such a request gets; no answer is begun."""
    resident = ScriptedResident()
    response = (chat if path == "/api/chat" else generate)(resident, **fields)
    assert response.status_code == 400, response.text
    assert resident.answers == []
    (message,) = response.json().values()
    assert isinstance(message, str)
    return message


def lines(response: Any) -> list[dict[str, Any]]:
    """The objects of a stream."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]
