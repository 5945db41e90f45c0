"""Requests to `/v1/messages` over a scripted resident, and what came of them."""

from __future__ import annotations

import json
from typing import Any

from freehold.server.ask import Ask
from freehold.server.routes.anthropic import router
from tests.server.forming import surface_client
from tests.server.scripted import MODEL, ScriptedResident

HELLO = [{"role": "user", "content": "Hello"}]

WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def request(**fields: Any) -> dict[str, Any]:
    """A request with these fields instead of, or besides, the least it needs."""
    return {"model": MODEL, "max_tokens": 64, "messages": HELLO} | fields


def post(
    resident: ScriptedResident | None = None, path: str = "/v1/messages", **fields: Any
) -> Any:
    return surface_client("anthropic", router, resident).post(path, json=request(**fields))


def asked(**fields: Any) -> Ask:
    """What the resident was asked for such a request."""
    resident = ScriptedResident()
    response = post(resident, **fields)
    assert response.status_code == 200, response.text
    return resident.ask


def refusal(**fields: Any) -> str:
    """The message of the 400 that such a request gets; the model is not asked."""
    resident = ScriptedResident()
    response = post(resident, **fields)
    assert response.status_code == 400, response.text
    body = response.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert resident.asks == []
    message: str = body["error"]["message"]
    return message


def events(response: Any) -> list[dict[str, Any]]:
    """The events of a stream; each is named as its data says."""
    frames = [frame for frame in response.text.split("\n\n") if frame]
    found = []
    for frame in frames:
        name, data = frame.split("\n")
        event: dict[str, Any] = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found
