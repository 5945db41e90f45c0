"""A conversation in the form that chat templates read, whatever the asker's client sent.

Room: chat. Knows messages; must not know templates' code, tokens or surfaces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from freehold.errors import BadRequest

__all__ = ["call_names", "normalised", "with_calls"]

Message = Mapping[str, Any]


def normalised(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Calls' arguments as mappings, no empty lists of calls, and results that name their function.

    Raises: BadRequest for arguments that are no JSON object.
    """
    done: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for place, message in enumerate(messages):
        plain = dict(message)
        calls = plain.pop("tool_calls", None)
        if calls:
            plain["tool_calls"] = [
                _call(call, f"messages.{place}.tool_calls.{i}") for i, call in enumerate(calls)
            ]
            names |= {
                call["id"]: call["function"]["name"] for call in plain["tool_calls"] if "id" in call
            }
        if plain.get("content") is None:
            plain["content"] = ""
        if plain.get("role") == "tool" and not plain.get("name"):
            called = names.get(str(plain.get("tool_call_id")))
            if called is not None:
                plain["name"] = called
        done.append(plain)
    return done


def _call(call: Mapping[str, Any], at: str) -> dict[str, Any]:
    function = dict(call["function"])
    function["arguments"] = _arguments(function.get("arguments"), f"{at}.function.arguments")
    return {**call, "type": call.get("type", "function"), "function": function}


def _arguments(given: object, param: str) -> Mapping[str, Any]:
    if given is None or given == "":
        return {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            given = None
    if not isinstance(given, Mapping):
        raise BadRequest(
            "the arguments of an earlier tool call are no JSON object",
            param=param,
            expected="a JSON object, or a text that holds one",
        )
    return given


def with_calls(
    messages: Sequence[Message], *, as_text: bool, no_content: bool
) -> list[dict[str, Any]]:
    """The conversation in another form of the same calls, for templates that read only that.

    `as_text`: arguments as JSON text. `no_content`: None as the content of a message that is calls
    and nothing else.
    """
    done = []
    for message in messages:
        changed = dict(message)
        if calls := changed.get("tool_calls"):
            if as_text:
                changed["tool_calls"] = [_as_text(call) for call in calls]
            if no_content and not changed["content"]:
                changed["content"] = None
        done.append(changed)
    return done


def _as_text(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def call_names(messages: Sequence[Message]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and arguments of every call in the conversation."""
    for message in messages:
        for call in message.get("tool_calls") or ():
            yield call["function"]["name"], call["function"]["arguments"]
