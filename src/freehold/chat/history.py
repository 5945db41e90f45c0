"""A conversation in the form that chat templates read, whatever the asker's client sent.

Room: chat. Knows messages; must not know templates' code, tokens or surfaces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.errors import BadRequest

__all__ = ["CALL_FORMS", "CallForm", "Message", "in_form", "normalised", "one_call_each"]

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


def one_call_each(messages: Sequence[Message]) -> list[Message]:
    """One call to a message, for templates that know no more, and its result after it."""
    return list(_one_by_one(messages))


def _one_by_one(messages: Sequence[Message]) -> Iterator[Message]:
    waiting: dict[object, Message] = {}
    for message in messages:
        calls = message.get("tool_calls") or ()
        if message.get("role") == "tool" and message.get("tool_call_id") in waiting:
            yield waiting.pop(message["tool_call_id"])
            yield message
            continue
        yield from waiting.values()
        waiting = {}
        if len(calls) < 2:
            yield message
            continue
        for place, call in enumerate(calls):
            content = message.get("content") if place == 0 else ""
            waiting[call.get("id", place)] = {**message, "content": content, "tool_calls": [call]}
    yield from waiting.values()


@dataclass(frozen=True)
class CallForm:
    """A form of an assistant's calls, for templates that read no other.

    `as_text`: arguments as JSON text. `no_content`: None as the content of a message without any.
    `apart`: the content in a message before the calls.
    """

    as_text: bool = False
    no_content: bool = False
    apart: bool = False


CALL_FORMS = tuple(
    CallForm(as_text, no_content, apart)
    for apart in (False, True)
    for as_text in (False, True)
    for no_content in (False, True)
)


def in_form(message: Message, form: CallForm) -> list[dict[str, Any]]:
    """A message with calls, as one message or two."""
    calls = [dict(call) for call in message["tool_calls"]]
    if form.as_text:
        calls = [_as_text(call) for call in calls]
    content = message["content"]
    before = []
    if form.apart and content:
        before = [{key: value for key, value in message.items() if key != "tool_calls"}]
        content = ""
    if form.no_content and not content:
        content = None
    return [*before, {**message, "content": content, "tool_calls": calls}]


def _as_text(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}
