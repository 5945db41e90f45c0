"""Messages as OpenAI writes them, and as chat templates expect them.

Room: server. Knows roles, content parts and their order; must not know templates or dialects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from freehold.errors import BadRequest, UnsupportedField
from freehold.server.routes.openai.forms import Body, NotOffered, refuse_unless_neutral

__all__ = [
    "CallForm",
    "CalledForm",
    "MessageForm",
    "PartForm",
    "template_messages",
    "with_system_text",
]

_MAX_PARTS = 1024
_TO_A_TEXT_MODEL = {
    "image_url": "images to a text model",
    "input_audio": "audio to a text model",
    "file": "files to a text model",
}
_FUNCTION_CALL = NotOffered("use tool_calls, which replaced it")
_AUDIO = NotOffered("the model reads text only")
_BREAKPOINT = NotOffered("shared beginnings of prompts are cached without being marked")
_ANNOTATIONS = NotOffered("put what they say into the content", ([],))

# What each role may carry besides `role` and `content`.
_FIELDS: Mapping[str, frozenset[str]] = {
    "system": frozenset({"name"}),
    "developer": frozenset({"name"}),
    "user": frozenset({"name"}),
    "assistant": frozenset({"name", "refusal", "tool_calls", "reasoning_content", "reasoning"}),
    "tool": frozenset({"name", "tool_call_id"}),
}


class PartForm(Body):
    """A part of a content. Only text, and an assistant's refusal, can be read by a text model."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Any = None
    input_audio: Any = None
    file: Any = None
    prompt_cache_breakpoint: Any = None


class CalledForm(Body):
    """The function of a call, its arguments a JSON object as text."""

    name: str = Field(min_length=1, max_length=256)
    arguments: str


class CallForm(Body):
    """A tool call that the assistant made earlier."""

    id: str = Field(min_length=1, max_length=256)
    type: Literal["function", "custom"] = "function"
    function: CalledForm | None = None
    custom: Any = None
    index: int | None = Field(None, description="Accepted, since streams have it; not needed.")


def _as_parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


Content = Annotated[
    list[PartForm],
    Field(min_length=1, max_length=_MAX_PARTS),
    BeforeValidator(_as_parts, json_schema_input_type=str | list[PartForm]),
]


class MessageForm(Body):
    """One message. Which fields it may have depends on its role."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[CallForm], Field(max_length=256)] | None = None
    tool_call_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    audio: Any = None
    function_call: Any = None
    annotations: Any = None


def template_messages(messages: Sequence[MessageForm]) -> tuple[dict[str, Any], ...]:
    """The conversation in the form of `Ask`.

    Raises: BadRequest or UnsupportedField, naming the message and its field.
    """
    done = tuple(_message(message, f"messages.{i}") for i, message in enumerate(messages))
    _answer_calls(done)
    return done


def with_system_text(messages: tuple[dict[str, Any], ...], text: str) -> tuple[dict[str, Any], ...]:
    """The conversation with a text at the end of its first system message, or as that message."""
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return (first, *messages[1:])
    return ({"role": "system", "content": text}, *messages)


def _message(message: MessageForm, at: str) -> dict[str, Any]:
    if message.role == "function":
        raise UnsupportedField(
            "the role function is not offered here",
            param=f"{at}.role",
            hint="use the role tool with a tool_call_id, which replaced it",
        )
    refuse_unless_neutral(f"{at}.audio", message.audio, _AUDIO)
    refuse_unless_neutral(f"{at}.function_call", message.function_call, _FUNCTION_CALL)
    refuse_unless_neutral(f"{at}.annotations", message.annotations, _ANNOTATIONS)
    _check_fields(message, at)
    # What OpenAI renamed to developer is the system message to every template.
    role = "system" if message.role == "developer" else message.role
    done: dict[str, Any] = {"role": role, "content": _text(message, at)}
    if message.name is not None:
        done["name"] = message.name
    if message.tool_call_id is not None:
        done["tool_call_id"] = message.tool_call_id
    if reasoning := _reasoning(message, at):
        done["reasoning_content"] = reasoning
    if message.tool_calls:
        calls = [_call(c, f"{at}.tool_calls.{i}") for i, c in enumerate(message.tool_calls)]
        done["tool_calls"] = calls
    return done


def _check_fields(message: MessageForm, at: str) -> None:
    every = ("name", "refusal", "tool_calls", "tool_call_id", "reasoning_content", "reasoning")
    given = {name for name in every if getattr(message, name) not in (None, [])}
    if wrong := sorted(given - _FIELDS[message.role]):
        raise BadRequest(
            f"a message of the role {message.role} has no {wrong[0]}", param=f"{at}.{wrong[0]}"
        )
    if message.role == "tool" and message.tool_call_id is None:
        raise BadRequest(
            "a tool's result names the call it answers",
            param=f"{at}.tool_call_id",
            expected="the id of a call",
        )
    says = message.content is not None
    if message.role == "assistant":
        says = says or bool(message.tool_calls) or message.refusal is not None
        says = says or bool(message.reasoning_content or message.reasoning)
    if not says:
        raise BadRequest("the message has no content", param=f"{at}.content", expected="a text")


def _text(message: MessageForm, at: str) -> str:
    """The content as one text; parts stand on lines of their own."""
    parts = message.content or ()
    texts = [_part(p, message.role, f"{at}.content.{i}") for i, p in enumerate(parts)]
    if message.refusal:
        texts.append(message.refusal)
    return "\n".join(texts)


def _part(part: PartForm, role: str, at: str) -> str:
    refuse_unless_neutral(
        f"{at}.prompt_cache_breakpoint", part.prompt_cache_breakpoint, _BREAKPOINT
    )
    if part.type in _TO_A_TEXT_MODEL:
        raise UnsupportedField(
            f"{_TO_A_TEXT_MODEL[part.type]}: the model cannot read them",
            param=at,
            expected="parts of the type text",
            found=part.type,
        )
    kinds = {"text": part.text} | ({"refusal": part.refusal} if role == "assistant" else {})
    if part.type not in kinds:
        raise BadRequest(
            "a content part is of an unknown type",
            param=f"{at}.type",
            expected=" or ".join(kinds),
        )
    filled = {n for n in ("text", "refusal", *_TO_A_TEXT_MODEL) if getattr(part, n) is not None}
    text = kinds[part.type]
    if text is None or filled != {part.type}:
        raise BadRequest(
            f"a content part of the type {part.type} has the field {part.type} and no other",
            param=at,
            found=", ".join(sorted(filled)) or "none",
        )
    return text


def _reasoning(message: MessageForm, at: str) -> str | None:
    """Both names of it are in use; giving both is fine when they agree."""
    first, second = message.reasoning_content, message.reasoning
    if first and second and first != second:
        raise BadRequest(
            "reasoning and reasoning_content are two names of one field and differ",
            param=f"{at}.reasoning",
        )
    return first or second


def _call(call: CallForm, at: str) -> dict[str, Any]:
    refuse_unless_neutral(f"{at}.custom", call.custom, NotOffered("use function tools"))
    if call.type == "custom":
        raise UnsupportedField(
            "custom tools are not offered here", param=f"{at}.type", hint="use function tools"
        )
    if call.function is None:
        raise BadRequest("the call has no function", param=f"{at}.function")
    arguments = _arguments(call.function.arguments, f"{at}.function.arguments")
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _arguments(text: str, param: str) -> dict[str, Any]:
    # Some servers write a parameterless call with no arguments at all.
    if not text.strip():
        return {}
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise BadRequest(
            "a call's arguments are not a JSON object", param=param, expected="a JSON object"
        )
    return arguments


def _answer_calls(messages: Sequence[dict[str, Any]]) -> None:
    """Hold calls and results together, and give each result the name of its tool.

    Mutates: results without a name. Raises: BadRequest naming the message out of order.
    """
    open_calls: dict[str, str] = {}
    caller = 0
    for i, message in enumerate(messages):
        if message["role"] == "tool":
            _take_result(message, open_calls, f"messages.{i}")
            continue
        _refuse_unanswered(open_calls, caller)
        caller = i
        for j, call in enumerate(message.get("tool_calls", ())):
            if call["id"] in open_calls:
                raise BadRequest(
                    "two calls of one message have the same id",
                    param=f"messages.{i}.tool_calls.{j}.id",
                )
            open_calls[call["id"]] = call["function"]["name"]
    _refuse_unanswered(open_calls, caller)


def _take_result(message: dict[str, Any], open_calls: dict[str, str], at: str) -> None:
    name = open_calls.pop(message["tool_call_id"], None)
    if name is None:
        raise BadRequest(
            "a message of the role tool must answer a call of the assistant message before it",
            param=f"{at}.tool_call_id",
            expected="the id of a call that has no result yet",
        )
    if message.setdefault("name", name) != name:
        raise BadRequest("the result's name is not the called tool's", param=f"{at}.name")


def _refuse_unanswered(open_calls: dict[str, str], caller: int) -> None:
    if open_calls:
        raise BadRequest(
            "an assistant message with tool_calls must be followed by a tool message for each",
            param=f"messages.{caller}.tool_calls",
            found=f"{len(open_calls)} without a result",
        )
