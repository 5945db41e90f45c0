"""Anthropic's turns of blocks as the messages that chat templates expect.

Room: server. Pure; must not know residents, answers or sampling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar

from pydantic import BaseModel

from freehold.errors import BadRequest, UnsupportedField
from freehold.server.routes.anthropic.requests import (
    Message,
    OtherBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from freehold.server.routes.anthropic.signatures import is_altered

__all__ = ["is_prefill", "messages_of"]

# Blocks stand on lines of their own, as parts do on the other surfaces; but not an answer's own
# blocks, which are pieces of one text.
_BETWEEN = "\n"

_B = TypeVar("_B", bound=BaseModel)


@dataclass(frozen=True)
class _Placed:
    """A block and its path in the request, for errors."""

    block: BaseModel
    param: str


@dataclass
class _Turns:
    """Messages so far, and the calls whose results must come next: id to name."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    awaited: dict[str, str] = field(default_factory=dict)


def is_prefill(messages: Sequence[Message]) -> bool:
    """Whether the answer continues the last message instead of following it."""
    return messages[-1].role == "assistant"


def messages_of(system: Sequence[TextBlock], messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The conversation; neighbouring messages of one role are one turn.

    Raises: UnsupportedField for a block that a text model cannot be given; BadRequest for one in
    the wrong place, a call without its result, or a result without its call.
    """
    turns = _Turns()
    if system:
        placed = [_Placed(block, f"system.{i}") for i, block in enumerate(system)]
        turns.messages.append({"role": "system", "content": _text(placed, _BETWEEN)})
    for role, turn in groupby(enumerate(messages), key=lambda entry: entry[1].role):
        blocks = list(_placed(turn))
        if role == "user":
            _user(turns, blocks)
            continue
        _no_result_is_missing(turns, blocks[0].param if blocks else "messages")
        if role == "assistant":
            _assistant(turns, blocks)
        else:
            _allow(blocks, "a system message", TextBlock)
            turns.messages.append({"role": "system", "content": _text(blocks, _BETWEEN)})
    _no_result_is_missing(turns, "messages")
    return turns.messages


def _placed(turn: Iterable[tuple[int, Message]]) -> Iterator[_Placed]:
    for i, message in turn:
        for j, block in enumerate(message.content):
            yield _Placed(block, f"messages.{i}.content.{j}")


def _user(turns: _Turns, blocks: list[_Placed]) -> None:
    _allow(blocks, "a user message", TextBlock, ToolResultBlock)
    seen_text = False
    for place in blocks:
        if isinstance(place.block, TextBlock):
            seen_text = True
        elif isinstance(place.block, ToolResultBlock):
            if seen_text:
                raise BadRequest(
                    "a tool_result stands after text",
                    param=place.param,
                    expected="the results of a turn's tool calls first",
                )
            turns.messages.append(_result(turns, place.block, place.param))
    _no_result_is_missing(turns, blocks[0].param if blocks else "messages")
    if seen_text or not any(isinstance(place.block, ToolResultBlock) for place in blocks):
        texts = [place for place in blocks if isinstance(place.block, TextBlock)]
        turns.messages.append({"role": "user", "content": _text(texts, _BETWEEN)})


def _result(turns: _Turns, block: ToolResultBlock, param: str) -> dict[str, Any]:
    name = turns.awaited.pop(block.tool_use_id, None)
    if name is None:
        raise BadRequest(
            "a tool_result answers no tool_use of the message before",
            param=f"{param}.tool_use_id",
            value=block.tool_use_id,
        )
    _untied(block.toolset_name, f"{param}.toolset_name")
    placed = [_Placed(inner, f"{param}.content.{i}") for i, inner in enumerate(block.content)]
    _allow(placed, "a tool's result", TextBlock)
    text = _text(placed, _BETWEEN)
    if block.is_error:
        # Templates have no place for a failure; the model reads it as people do.
        text = f"Error: {text}" if text else "Error"
    return {"role": "tool", "content": text, "tool_call_id": block.tool_use_id, "name": name}


def _assistant(turns: _Turns, blocks: list[_Placed]) -> None:
    _allow(blocks, "an assistant message", TextBlock, ThinkingBlock, ToolUseBlock)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": _text([p for p in blocks if isinstance(p.block, TextBlock)], ""),
    }
    thoughts = [_thought(block, place.param) for block, place in _only(blocks, ThinkingBlock)]
    if thoughts:
        message["reasoning_content"] = _BETWEEN.join(thoughts)
    calls = [_call(turns, block, place.param) for block, place in _only(blocks, ToolUseBlock)]
    if calls:
        message["tool_calls"] = calls
    turns.messages.append(message)


def _thought(block: ThinkingBlock, param: str) -> str:
    if is_altered(block.thinking, block.signature):
        raise BadRequest(
            "a thinking block was changed since it was sent",
            param=f"{param}.signature",
            expected="the block as it was received",
        )
    return block.thinking


def _call(turns: _Turns, block: ToolUseBlock, param: str) -> dict[str, Any]:
    if block.caller not in (None, {"type": "direct"}):
        raise UnsupportedField(
            "tools are called by the model only",
            param=f"{param}.caller",
            expected='{"type": "direct"}',
        )
    _untied(block.toolset_name, f"{param}.toolset_name")
    if block.id in turns.awaited:
        raise BadRequest("two tool_use blocks have one id", param=f"{param}.id", value=block.id)
    turns.awaited[block.id] = block.name
    function = {"name": block.name, "arguments": block.input}
    return {"id": block.id, "type": "function", "function": function}


def _no_result_is_missing(turns: _Turns, param: str) -> None:
    if turns.awaited:
        raise BadRequest(
            f"{len(turns.awaited)} tool_use blocks have no tool_result in the next message",
            param=param,
            value=sorted(turns.awaited),
            expected="a user message that begins with their results",
        )


def _only(blocks: Iterable[_Placed], kind: type[_B]) -> Iterator[tuple[_B, _Placed]]:
    for place in blocks:
        if isinstance(place.block, kind):
            yield place.block, place


def _allow(blocks: Iterable[_Placed], where: str, *kinds: type[BaseModel]) -> None:
    for place in blocks:
        if isinstance(place.block, OtherBlock):
            raise UnsupportedField(
                f"a block of type {place.block.type!r} cannot be given to a text model",
                param=place.param,
                value=place.block.type,
            )
        if not isinstance(place.block, kinds):
            kind = getattr(place.block, "type", "?")
            raise BadRequest(f"{where} cannot hold a block of type {kind!r}", param=place.param)


def _untied(toolset: str | None, param: str) -> None:
    if toolset is not None:
        raise UnsupportedField("toolsets are not offered", param=param, value=toolset)


def _text(blocks: Iterable[_Placed], between: str) -> str:
    texts = []
    for block, place in _only(blocks, TextBlock):
        if block.citations:
            raise UnsupportedField("citations are not offered", param=f"{place.param}.citations")
        texts.append(block.text)
    return between.join(texts)
