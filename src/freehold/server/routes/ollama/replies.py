"""An answer's events as Ollama's objects: pieces, and a last one with the measures.

Room: server. Makes small dicts; must not know sockets or how a request was understood.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from freehold.server.ask import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenText,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)

if TYPE_CHECKING:
    from freehold.server.answering import Answer

__all__ = ["Outline", "Piece", "empty", "line", "now", "pieces_of", "stamp", "whole"]

Piece = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a reply is besides its text: of which of the two forms, and since when."""

    model: str
    chat: bool
    started_ns: int = field(default_factory=time.perf_counter_ns)
    loaded_ns: int = 0


@dataclass
class _Call:
    start: ToolCallStart
    arguments: list[str] = field(default_factory=list)


def now() -> str:
    """This moment, as the interface writes it."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """A moment in UTC, as the interface writes it."""
    return moment.isoformat().replace("+00:00", "Z")


def line(piece: Piece) -> str:
    """A piece as one line of a stream."""
    return json.dumps(piece, ensure_ascii=False, separators=(",", ":")) + "\n"


async def pieces_of(answer: Answer, outline: Outline) -> AsyncGenerator[Piece, None]:
    """First an empty piece, which is not sent: it begins the generator, so that closing it closes
    the answer. Then the reply's pieces; the last one has `done`.
    """
    call: _Call | None = None
    reason = "stop"
    try:
        yield {}
        async for event in answer:
            if isinstance(event, ToolCallDelta):
                assert call is not None, "arguments without a call"
                call.arguments.append(event.arguments)
                continue
            if call is not None:
                yield _called(outline, call)
                call = None
            if isinstance(event, ToolCallStart):
                call = _Call(event)
            elif isinstance(event, Finish):
                reason = "length" if event.reason == "length" else "stop"
            elif isinstance(event, Usage):
                yield _last(outline, event, reason)
            elif piece := _said(outline, event):
                yield piece
    finally:
        await answer.aclose()


def empty(outline: Outline, reason: str) -> Piece:
    """The reply to a request that only loads or unloads."""
    return _piece(outline) | {"done": True, "done_reason": reason}


async def whole(pieces: AsyncGenerator[Piece, None], outline: Outline) -> Piece:
    """The one object that the pieces are parts of."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Piece] = []
    notes: list[Piece] = []
    last: Piece = {}
    async with aclosing(pieces):
        async for piece in pieces:
            body = piece.get("message", piece)
            texts.append(body.get("content") or body.get("response") or "")
            thoughts.append(body.get("thinking", ""))
            calls += body.get("tool_calls", ())
            notes += piece.get("logprobs", ())
            last = piece
    reply = _piece(outline, "".join(texts), thinking="".join(thoughts), calls=calls)
    if notes:
        reply["logprobs"] = notes
    return reply | {name: value for name, value in last.items() if name not in _CONTENT}


_CONTENT = frozenset({"message", "response"})


def _piece(
    outline: Outline, text: str = "", *, thinking: str = "", calls: Sequence[Piece] = ()
) -> Piece:
    said: Piece = {"role": "assistant", "content": text} if outline.chat else {"response": text}
    if thinking:
        said["thinking"] = thinking
    if calls:
        said["tool_calls"] = list(calls)
    if outline.chat:
        said = {"message": said}
    return {"model": outline.model, "created_at": now()} | said | {"done": False}


def _said(outline: Outline, event: Event) -> Piece | None:
    if isinstance(event, ReasoningDelta):
        return _piece(outline, thinking=event.text) if event.text else None
    assert isinstance(event, TextDelta)
    if not event.text and not event.logprobs:
        return None
    piece = _piece(outline, event.text)
    if event.logprobs:
        piece["logprobs"] = [_noted(token) for token in event.logprobs]
    return piece


def _called(outline: Outline, call: _Call) -> Piece:
    """The interface has whole calls only."""
    text = "".join(call.arguments)
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        # Cut off in the middle of a call: what there is of it, claimed as no call.
        return _piece(outline, text)
    start = call.start
    function = {"index": start.index, "name": start.name, "arguments": arguments}
    return _piece(outline, calls=[{"id": start.id, "function": function}])


def _noted(token: TokenText) -> Piece:
    note = _token(token)
    if token.top:
        note["top_logprobs"] = [_token(other) for other in token.top]
    return note


def _token(token: TokenText) -> Piece:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes)}


def _last(outline: Outline, usage: Usage, reason: str) -> Piece:
    return _piece(outline) | {
        "done": True,
        "done_reason": reason,
        "total_duration": time.perf_counter_ns() - outline.started_ns,
        "load_duration": outline.loaded_ns,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": int(usage.prompt_s * 1e9),
        "eval_count": usage.completion_tokens,
        "eval_duration": int(usage.generate_s * 1e9),
    }
