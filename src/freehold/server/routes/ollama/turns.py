"""Ollama's messages as chat templates expect them.

Room: server. Pure; must not know residents, answers or sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freehold.errors import BadRequest, UnsupportedField
from freehold.server.routes.ollama.requests import Call, Message

__all__ = ["messages_of"]

# What each role may carry besides `role` and `content`.
_FIELDS = {
    "system": (),
    "user": (),
    "assistant": ("thinking", "tool_calls"),
    "tool": ("tool_name", "tool_call_id"),
}


def messages_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The conversation. Calls without an id get one, and results the call they answer.

    Raises: UnsupportedField for images; BadRequest for a field in the wrong role, a call without
    its result, or a result without its call.
    """
    turned: list[dict[str, Any]] = []
    awaited: dict[str, str] = {}
    for i, message in enumerate(messages):
        at = f"messages.{i}"
        _check_fields(message, at)
        if message.role == "tool":
            turned.append(_result(message, awaited, at))
            continue
        _no_result_is_missing(awaited, at)
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.thinking:
            turn["reasoning_content"] = message.thinking
        if message.tool_calls:
            calls = [_call(call, f"call_{i}_{j}") for j, call in enumerate(message.tool_calls)]
            awaited = {call["id"]: call["function"]["name"] for call in calls}
            if len(awaited) < len(calls):
                raise BadRequest("two calls of one message have one id", param=f"{at}.tool_calls")
            turn["tool_calls"] = calls
        turned.append(turn)
    _no_result_is_missing(awaited, "messages")
    return turned


def _check_fields(message: Message, at: str) -> None:
    if message.images:
        raise UnsupportedField("images cannot be given to a text model", param=f"{at}.images")
    for name in ("thinking", "tool_calls", "tool_name", "tool_call_id"):
        if getattr(message, name) and name not in _FIELDS[message.role]:
            raise BadRequest(
                f"a message of the role {message.role} has no {name}", param=f"{at}.{name}"
            )


def _call(call: Call, name: str) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id or name, "type": "function", "function": function}


def _result(message: Message, awaited: dict[str, str], at: str) -> dict[str, Any]:
    """A result answers the call it names, by id or by tool, or else the next one."""
    called = message.tool_call_id
    if called is None:
        named = message.tool_name
        called = next((id_ for id_, name in awaited.items() if named in (None, name)), None)
    if called not in awaited:
        raise BadRequest(
            "a tool's result answers no call of the assistant message before",
            param=at,
            expected="tool_name to be the name of a call that has no result yet",
        )
    name = awaited.pop(called)
    return {"role": "tool", "content": message.content, "tool_call_id": called, "name": name}


def _no_result_is_missing(awaited: dict[str, str], at: str) -> None:
    if awaited:
        raise BadRequest(
            f"{len(awaited)} tool calls have no result before this message",
            param=at,
            expected="a message of the role tool for each",
        )
