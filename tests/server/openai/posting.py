"""Requests to this surface over a scripted resident."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter

from freehold.errors import FreeholdError
from freehold.server.ask import Ask, Event
from freehold.server.routes.openai import chat, completions, models, tokens
from tests.server.forming import surface_client
from tests.server.scripted import HELLO, MODEL, ScriptedResident

HI = [{"role": "user", "content": "hi"}]


def router() -> APIRouter:
    every = APIRouter()
    for part in (chat, completions, models, tokens):
        every.include_router(part.router)
    return every


def post(path: str, body: Any, resident: ScriptedResident | None = None) -> Any:
    """Encoded here, because the client itself would refuse NaN."""
    client = surface_client("openai", router(), resident)
    content = json.dumps(body)
    headers = {"content-type": "application/json"}
    return client.post(path, content=content, headers=headers)


def chat_ask(resident: ScriptedResident | None = None, /, **fields: Any) -> Ask:
    """What the resident is asked for a chat with these fields."""
    resident = resident or ScriptedResident()
    reply = post("/v1/chat/completions", {"model": MODEL, "messages": HI, **fields}, resident)
    assert reply.status_code == 200, reply.text
    return resident.asks[-1]


def completion_ask(**fields: Any) -> Ask:
    resident = ScriptedResident()
    reply = post("/v1/completions", {"model": MODEL, "prompt": "hi", **fields}, resident)
    assert reply.status_code == 200, reply.text
    return resident.asks[-1]


def refusal(path: str, body: Any, resident: ScriptedResident | None = None) -> dict[str, Any]:
    """The error of a 400 whose answer never began."""
    resident = resident or ScriptedResident()
    before = len(resident.answers)
    reply = post(path, body, resident)
    assert reply.status_code == 400, reply.text
    assert len(resident.answers) == before
    error: dict[str, Any] = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


def chat_refusal(resident: ScriptedResident | None = None, /, **fields: Any) -> dict[str, Any]:
    body = {"model": MODEL, "messages": HI, **fields}
    return refusal("/v1/chat/completions", body, resident)


def completion_refusal(**fields: Any) -> dict[str, Any]:
    return refusal("/v1/completions", {"model": MODEL, "prompt": "hi", **fields})


def answered(
    path: str, events: Sequence[Event | FreeholdError] = HELLO, /, **fields: Any
) -> dict[str, Any]:
    """The whole reply to these events."""
    resident = ScriptedResident(events)
    asked = {"messages": HI} if "chat" in path else {"prompt": "hi"}
    reply = post(path, {"model": MODEL, **asked, **fields}, resident)
    assert reply.status_code == 200, reply.text
    assert all(answer.closed for answer in resident.answers)
    whole: dict[str, Any] = reply.json()
    return whole


def streamed(
    path: str, events: Sequence[Event | FreeholdError] = HELLO, /, **fields: Any
) -> tuple[list[dict[str, Any]], bool]:
    """The chunks of the stream of these events, and whether [DONE] ended it."""
    resident = ScriptedResident(events)
    asked = {"messages": HI} if "chat" in path else {"prompt": "hi"}
    reply = post(path, {"model": MODEL, "stream": True, **asked, **fields}, resident)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert all(answer.closed for answer in resident.answers)
    frames = reply.text.split("\n\n")
    assert frames.pop() == ""
    data = [frame.removeprefix("data: ") for frame in frames]
    done = data[-1] == "[DONE]"
    return [json.loads(line) for line in data[: -1 if done else None]], done
