"""The items of a conversation: untrusted input into the one form that is stored and shown.

Room: server. Knows items; must not know models, the store or who asks.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from freehold.errors import BadRequest, RequestError, UnsupportedField
from freehold.server.http_errors import from_validation
from freehold.server.routes.openai.forms import Body, NotOffered, refuse_unless_neutral

__all__ = [
    "Item",
    "ItemIds",
    "Reference",
    "checked",
    "is_response_id",
    "new_response_id",
    "not_offered_type",
    "parse_items",
    "response_of_item",
    "size_of",
    "text_of",
]

Item = dict[str, Any]

_RESPONSE = "resp_"
_TOKEN_DIGITS = 32
_HEX = frozenset("0123456789abcdef")
_PREFIX = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}

_PHASE = NotOffered("the answer's text is its one phase")
_BREAKPOINT = NotOffered("shared beginnings of prompts are cached without being marked")
_CALLER = NotOffered("the model calls functions itself", ({"type": "direct"},))
_NAMESPACE = NotOffered("give each function a name of its own")
_ASYNC = NotOffered("send the call with its output", (False,))
_SUMMARY = NotOffered("send the reasoning's own content", ([],))
_ENCRYPTED = NotOffered("send the reasoning's own content")

Status = Literal["in_progress", "completed", "incomplete"]
CallId = Annotated[str, Field(min_length=1, max_length=256)]
ToolName = Annotated[str, Field(min_length=1, max_length=256)]
Text = list[dict[str, Any]]

_S = TypeVar("_S", bound=Body)


def new_response_id() -> str:
    """A fresh id that nobody can guess."""
    return _RESPONSE + secrets.token_hex(_TOKEN_DIGITS // 2)


def is_response_id(text: str) -> bool:
    """Whether this could be the id of a response of ours."""
    token = text.removeprefix(_RESPONSE)
    return token != text and len(token) == _TOKEN_DIGITS and not set(token) - _HEX


class ItemIds:
    """Ids for the items of one response: they hold its id, so that an item can be found again."""

    def __init__(self, response_id: str, side: Literal["i", "o"]) -> None:
        self._tail = response_id.removeprefix(_RESPONSE) + side
        self._next = 0

    def new(self, kind: str) -> str:
        """The id of the next item, which is of this type."""
        number = self._next
        self._next += 1
        return f"{_PREFIX[kind]}_{self._tail}{number}"


def response_of_item(item_id: str) -> str | None:
    """The id of the response that an item came in or went out with; None if it is not of ours."""
    prefix, _, rest = item_id.partition("_")
    token, side, number = rest[:_TOKEN_DIGITS], rest[_TOKEN_DIGITS:][:1], rest[_TOKEN_DIGITS + 1 :]
    known = prefix in _PREFIX.values() and side in ("i", "o") and number.isdecimal()
    return _RESPONSE + token if known and is_response_id(_RESPONSE + token) else None


class Reference(str):
    """The id of an item that stands in for the item itself."""

    __slots__ = ()


class _Message(Body):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Any
    id: str | None = None
    status: Status | None = None
    phase: Any = None


class _TextPart(Body):
    type: str
    text: str
    prompt_cache_breakpoint: Any = None


class _AnswerPart(Body):
    type: str
    text: str
    annotations: list[dict[str, Any]] | None = None
    logprobs: list[dict[str, Any]] | None = None


class _RefusalPart(Body):
    type: str
    refusal: str


class _Call(Body):
    type: str
    call_id: CallId
    name: ToolName
    arguments: str
    id: str | None = None
    status: Status | None = None
    caller: Any = None
    namespace: Any = None
    asynchronous: Annotated[Any, Field(alias="async")] = None


class _CallOutput(Body):
    type: str
    call_id: CallId
    output: Any
    id: str | None = None
    status: Status | None = None
    name: ToolName | None = None
    caller: Any = None
    namespace: Any = None


class _ReasoningText(Body):
    type: Literal["reasoning_text"]
    text: str


class _Reasoning(Body):
    type: str
    id: str | None = None
    summary: Any = None
    content: list[_ReasoningText] | None = None
    encrypted_content: Any = None
    status: Status | None = None


class _ItemReference(Body):
    type: Literal["item_reference"] | None = None
    id: Annotated[str, Field(min_length=1, max_length=200)]


def parse_items(given: Sequence[dict[str, Any]]) -> list[Item | Reference]:
    """The items of a request's `input`, without ids yet.

    Raises: BadRequest, UnsupportedField, naming the place.
    """
    return [_item(raw, f"input.{index}") for index, raw in enumerate(given)]


def checked(model: type[_S], raw: object, place: str) -> _S:
    """The object as this model, or a BadRequest that names the place."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = [{**found, "loc": (place, *found["loc"])} for found in error.errors()]
        raise from_validation(problems) from None


def _item(raw: dict[str, Any], place: str) -> Item | Reference:
    kind = raw.get("type")
    if kind is None:
        kind = "message" if "role" in raw else "item_reference"
    match kind:
        case "message":
            return _message(checked(_Message, raw, place), place)
        case "function_call":
            return _call(checked(_Call, raw, place), place)
        case "function_call_output":
            return _call_output(checked(_CallOutput, raw, place), place)
        case "reasoning":
            return _reasoning(checked(_Reasoning, raw, place), place)
        case "item_reference":
            return Reference(checked(_ItemReference, raw, place).id)
        case _:
            raise not_offered_type(kind, place, ("message", *_PREFIX, "item_reference"))


def not_offered_type(kind: object, place: str, offered: Sequence[str]) -> RequestError:
    """The error for an item, part or tool that is none of the types on offer."""
    name = f"{place}.type"
    expected = " or ".join(dict.fromkeys(offered))
    if not isinstance(kind, str):
        return BadRequest(f"{name} is not a text", param=name, expected=expected)
    # The interface's own words may be repeated; anything else may be somebody's text.
    found = kind if kind.isidentifier() and len(kind) <= 64 else ""
    return UnsupportedField(
        f"{name} is one that is not offered", param=name, expected=expected, found=found
    )


def _message(message: _Message, place: str) -> Item:
    refuse_unless_neutral(f"{place}.phase", message.phase, _PHASE)
    own = "output_text" if message.role == "assistant" else "input_text"
    content = message.content
    if isinstance(content, str):
        parts = [_text_part(own, content)]
    elif isinstance(content, list):
        parts = [_part(raw, own, f"{place}.content.{i}") for i, raw in enumerate(content)]
    else:
        name = f"{place}.content"
        raise BadRequest(f"{name} is a text or a list of parts", param=name)
    return _message_item(message.role, parts, message.status)


def _message_item(role: str, parts: Text, status: str | None) -> Item:
    return {"type": "message", "role": role, "status": status or "completed", "content": parts}


def _text_part(kind: str, text: str) -> Item:
    if kind == "input_text":
        return {"type": kind, "text": text}
    return {"type": kind, "text": text, "annotations": [], "logprobs": []}


def _part(raw: object, own: str, place: str) -> Item:
    """A part of a message whose role has `own` parts; an assistant's may be input_text too."""
    if not isinstance(raw, dict):
        raise BadRequest(f"{place} is not an object", param=place)
    kind = raw.get("type")
    if kind == "input_text":
        given = checked(_TextPart, raw, place)
        name = f"{place}.prompt_cache_breakpoint"
        refuse_unless_neutral(name, given.prompt_cache_breakpoint, _BREAKPOINT)
        return _text_part(own, given.text)
    if own == "output_text" and kind == "output_text":
        answer = checked(_AnswerPart, raw, place)
        kept = {"annotations": answer.annotations or [], "logprobs": answer.logprobs or []}
        return {"type": kind, "text": answer.text, **kept}
    if own == "output_text" and kind == "refusal":
        return {"type": kind, "refusal": checked(_RefusalPart, raw, place).refusal}
    offered = ("input_text",) if own == "input_text" else ("output_text", "refusal")
    raise not_offered_type(kind, place, offered)


def _call(call: _Call, place: str) -> Item:
    refuse_unless_neutral(f"{place}.caller", call.caller, _CALLER)
    refuse_unless_neutral(f"{place}.namespace", call.namespace, _NAMESPACE)
    refuse_unless_neutral(f"{place}.async", call.asynchronous, _ASYNC)
    return {
        "type": "function_call",
        "status": call.status or "completed",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _call_output(given: _CallOutput, place: str) -> Item:
    refuse_unless_neutral(f"{place}.caller", given.caller, _CALLER)
    refuse_unless_neutral(f"{place}.namespace", given.namespace, _NAMESPACE)
    output, name = given.output, f"{place}.output"
    if isinstance(output, list):
        output = [_part(raw, "input_text", f"{name}.{i}") for i, raw in enumerate(output)]
    elif not isinstance(output, str):
        raise BadRequest(f"{name} is a text or a list of parts", param=name)
    item: Item = {
        "type": "function_call_output",
        "status": given.status or "completed",
        "call_id": given.call_id,
        "output": output,
    }
    return item if given.name is None else {**item, "name": given.name}


def _reasoning(given: _Reasoning, place: str) -> Item:
    refuse_unless_neutral(f"{place}.summary", given.summary, _SUMMARY)
    refuse_unless_neutral(f"{place}.encrypted_content", given.encrypted_content, _ENCRYPTED)
    texts = [{"type": "reasoning_text", "text": part.text} for part in given.content or []]
    return {
        "type": "reasoning",
        "status": given.status or "completed",
        "summary": [],
        "content": texts,
    }


def text_of(item: Mapping[str, Any]) -> str:
    """The text of a message, a reasoning or a call's output; parts stand on lines of their own."""
    content = item["output"] if item["type"] == "function_call_output" else item["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", part.get("refusal", "")) for part in content)


def size_of(item: Mapping[str, Any]) -> int:
    """The length of what an item says, in characters."""
    return len(item["arguments"] if item["type"] == "function_call" else text_of(item))
