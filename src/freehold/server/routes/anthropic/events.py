"""An answer's events as Anthropic's: blocks that start, grow and stop.

Room: server. Makes small dicts; must not know sockets or how a request was understood.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from freehold.server.ask import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from freehold.server.routes.anthropic.signatures import signature_of

if TYPE_CHECKING:
    from freehold.server.answering import Answer

__all__ = ["Frame", "Outline", "frames_of", "sse", "whole"]

Frame = dict[str, Any]

_STOP_REASON = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a message is besides its content.

    `held_tools` want their input in one piece. After `thinking_budget` tokens of thinking, as
    `count` counts them, the answer ends.
    """

    id: str
    model: str
    held_tools: frozenset[str] = frozenset()
    thinking_budget: int | None = None
    count: Callable[[str], int] = len


@dataclass
class _Blocks:
    """The block that is open, and how many were before it."""

    outline: Outline
    index: int = -1
    open: str = ""
    held: bool = False
    pieces: list[str] = field(default_factory=list)
    thought_tokens: int = 0

    def on(self, event: Event) -> list[Frame]:
        """The frames an event makes."""
        if isinstance(event, TextDelta):
            return self._text(event.text) if event.text else []
        if isinstance(event, ReasoningDelta):
            return self._thinking(event.text) if event.text else []
        if isinstance(event, ToolCallStart):
            return self._call(event)
        if isinstance(event, ToolCallDelta):
            self.pieces.append(event.arguments)
            return [] if self.held else [self._delta("input_json_delta", event.arguments)]
        return self.close() if isinstance(event, Finish) else []

    @property
    def over_budget(self) -> bool:
        """Whether the model has thought for all the tokens it was given to think."""
        budget = self.outline.thinking_budget
        return budget is not None and self.open == "thinking" and self.thought_tokens >= budget

    def close(self) -> list[Frame]:
        """Ends the open block, if there is one."""
        if not self.open:
            return []
        frames = []
        if self.open == "thinking":
            frames.append(self._delta("signature_delta", signature_of("".join(self.pieces))))
        elif self.held:
            frames.append(self._delta("input_json_delta", "".join(self.pieces)))
        frames.append({"type": "content_block_stop", "index": self.index})
        self.open, self.held, self.pieces = "", False, []
        return frames

    def _text(self, text: str) -> list[Frame]:
        frames = [] if self.open == "text" else self._start("text", {"type": "text", "text": ""})
        frames.append(self._delta("text_delta", text))
        return frames

    def _thinking(self, text: str) -> list[Frame]:
        frames: list[Frame] = []
        if self.open != "thinking":
            frames = self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if self.outline.thinking_budget is not None:
            self.thought_tokens += self.outline.count(text)
        self.pieces.append(text)
        frames.append(self._delta("thinking_delta", text))
        return frames

    def _call(self, event: ToolCallStart) -> list[Frame]:
        block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
        frames = self._start("tool_use", block)
        self.held = event.name in self.outline.held_tools
        return frames

    def _start(self, kind: str, block: Frame) -> list[Frame]:
        frames = self.close()
        self.index += 1
        self.open = kind
        frames.append({"type": "content_block_start", "index": self.index, "content_block": block})
        return frames

    def _delta(self, kind: str, text: str) -> Frame:
        delta = {"type": kind, _DELTA_FIELD[kind]: text}
        return {"type": "content_block_delta", "index": self.index, "delta": delta}


_DELTA_FIELD = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


async def frames_of(answer: Answer, outline: Outline) -> AsyncGenerator[Frame, None]:
    """Every event of the message, in the order of the interface. Closes the answer."""
    finish: Finish | None = None
    usage: Usage | None = None
    blocks = _Blocks(outline)
    try:
        yield _message_start(outline, answer.prompt_tokens)
        yield {"type": "ping"}
        async for event in answer:
            if isinstance(event, Usage):
                usage = event
                continue
            for frame in blocks.on(event):
                yield frame
            if isinstance(event, Finish):
                finish = event
            if blocks.over_budget:
                answer.cancel()
                finish = Finish(0, "length")
                break
        for frame in blocks.close():
            yield frame
        spent = blocks.thought_tokens
        usage = usage or Usage(
            prompt_tokens=answer.prompt_tokens, completion_tokens=spent, reasoning_tokens=spent
        )
        yield _message_delta(finish, usage)
        yield {"type": "message_stop"}
    finally:
        await answer.aclose()


def _message_start(outline: Outline, prompt_tokens: int) -> Frame:
    message: Frame = {
        "id": outline.id,
        "type": "message",
        "role": "assistant",
        "model": outline.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        # How much of the prompt the cache had is known at the end; these counts are then replaced.
        "usage": _usage(Usage(prompt_tokens=prompt_tokens, completion_tokens=0)),
    }
    return {"type": "message_start", "message": message}


def _message_delta(finish: Finish | None, usage: Usage) -> Frame:
    stop_sequence = finish.stop_sequence if finish else None
    reason = _STOP_REASON[finish.reason] if finish else None
    if stop_sequence is not None:
        reason = "stop_sequence"
    delta = {"stop_reason": reason, "stop_sequence": stop_sequence}
    return {"type": "message_delta", "delta": delta, "usage": _usage(usage)}


def _usage(usage: Usage) -> Frame:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard",
    }


def sse(frame: Frame) -> str:
    """A frame as a server-sent event."""
    data = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
    return f"event: {frame['type']}\ndata: {data}\n\n"


async def whole(frames: AsyncGenerator[Frame, None]) -> Frame:
    """The message that a client would put together from the frames."""
    message: Frame = {}
    pieces: list[str] = []
    async with aclosing(frames):
        async for frame in frames:
            match frame["type"]:
                case "message_start":
                    message = frame["message"]
                case "content_block_start":
                    message["content"].append(dict(frame["content_block"]))
                    pieces = []
                case "content_block_delta":
                    delta = frame["delta"]
                    if delta["type"] == "signature_delta":
                        message["content"][-1]["signature"] = delta["signature"]
                    else:
                        pieces.append(delta[_DELTA_FIELD[delta["type"]]])
                case "content_block_stop":
                    message["content"][-1] = _filled(message["content"][-1], "".join(pieces))
                case "message_delta":
                    message |= frame["delta"] | {"usage": frame["usage"]}
    return message


def _filled(block: Frame, text: str) -> Frame:
    if block["type"] != "tool_use":
        return {**block, block["type"]: text}
    try:
        return {**block, "input": json.loads(text or "{}")}
    except ValueError:
        # Cut off by max_tokens in the middle of a call: what there is of it, claimed as no call.
        return {"type": "text", "text": text}
