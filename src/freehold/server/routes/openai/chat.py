"""POST /v1/chat/completions, streaming and not.

Room: server. Writes events in OpenAI's form; must not know how an answer is made.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from freehold.errors import FreeholdError
from freehold.server.ask import (
    Ask,
    Choice,
    Collected,
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from freehold.server.context import Context
from freehold.server.http_errors import OPENAPI_ERRORS, error_body
from freehold.server.presence import unless_gone
from freehold.server.routes.openai.chat_form import ChatCompletionBody, check_names, has_names
from freehold.server.routes.openai.forms import naming
from freehold.server.routes.openai.replies import (
    DONE,
    Chunks,
    head_of,
    prompt_logprobs_of,
    token_logprobs,
    usage_of,
)
from freehold.server.streams import stream

if TYPE_CHECKING:
    from freehold.server.answering import Answer

__all__ = ["ANSWERED", "CLIENT_LEFT", "chat_completions", "error_frame", "router"]

router = APIRouter(responses=OPENAPI_ERRORS, tags=["openai"])

ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, or with `stream` its pieces.",
        "content": {"application/json": {}, "text/event-stream": {}},
    }
}

# What nginx calls a client that left; nobody reads it.
CLIENT_LEFT = 499


@router.post("/v1/chat/completions", response_model=None, responses=ANSWERED)
async def chat_completions(body: ChatCompletionBody, request: Request, ctx: Context) -> Response:
    """Answer a conversation."""
    resident = await ctx.house.residents.chat(body.model)
    ask = body.ask(resident)
    if has_names(ask):  # to try them out takes a thread's time
        with naming({"thinking": "reasoning_effort"}):
            await asyncio.to_thread(check_names, ask, resident)
    kind = "chat.completion.chunk" if body.stream else "chat.completion"
    head = head_of("chatcmpl", kind, resident)
    if body.service_tier is not None:
        head["service_tier"] = "default"
    with naming({"thinking": "reasoning_effort"}, form=body.structure_field()):
        answer = await resident.answer(ask, ctx.asker)
    if body.stream:
        chunks = Chunks(head, with_usage=body.wants_usage())
        frames = _frames(answer, chunks, ask, with_usage=body.wants_usage())
        return stream(frames, on_error=error_frame(ctx.asker.request_id))
    done = await unless_gone(request, _whole(answer))
    if done is None:
        return Response(status_code=CLIENT_LEFT)
    reply = {
        **head,
        "choices": [_choice(choice, ask) for choice in done.choices],
        "usage": usage_of(done.usage),
    }
    if body.metadata is not None:
        reply["metadata"] = body.metadata
    if done.prompt_logprobs is not None:
        reply["prompt_logprobs"] = prompt_logprobs_of(done.prompt_logprobs)
    return JSONResponse(reply)


async def _whole(answer: Answer) -> Collected:
    try:
        return await answer.collect()
    finally:
        await answer.aclose()


def error_frame(request_id: str) -> Callable[[FreeholdError], str]:
    """How a stream says that it broke off."""

    def frame(error: FreeholdError) -> str:
        return f"data: {json.dumps(error_body('openai', error, request_id))}\n\n"

    return frame


def _choice(choice: Choice, ask: Ask) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text if choice.text or not choice.tool_calls else None,
        "refusal": None,
        "reasoning_content": choice.reasoning or None,
        "reasoning": choice.reasoning or None,
    }
    if choice.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in choice.tool_calls
        ]
    logprobs = None
    if ask.logprobs is not None:
        logprobs = {"content": token_logprobs(choice.logprobs), "refusal": None}
    return {
        "index": choice.index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": choice.finish_reason,
        "stop_reason": choice.stop_sequence,
    }


async def _frames(
    answer: Answer, chunks: Chunks, ask: Ask, *, with_usage: bool
) -> AsyncGenerator[str, None]:
    """The events as chunks. The role comes with each choice's first one."""
    begun: set[int] = set()
    plain = ask.logprobs is None
    try:
        async for event in answer:
            if isinstance(event, Usage):
                if with_usage:
                    yield chunks.last(event)
                continue
            if event.choice not in begun:
                begun.add(event.choice)
                role = {"role": "assistant", "content": "", "refusal": None}
                yield chunks.of(_delta(event.choice, role))
            if plain and isinstance(event, TextDelta):
                yield chunks.text(event.choice, event.text)
            else:
                yield chunks.of(_piece(event, ask))
        yield DONE
    finally:
        await answer.aclose()


def _piece(event: Event, ask: Ask) -> dict[str, Any]:
    match event:
        case TextDelta(choice, text, tokens):
            piece = _delta(choice, {"content": text})
            if ask.logprobs is not None:
                piece["logprobs"] = {"content": token_logprobs(tokens), "refusal": None}
            return piece
        case ReasoningDelta(choice, text):
            return _delta(choice, {"reasoning_content": text, "reasoning": text})
        case ToolCallStart(choice, index, call_id, name):
            function = {"name": name, "arguments": ""}
            call = {"index": index, "id": call_id, "type": "function", "function": function}
            return _delta(choice, {"tool_calls": [call]})
        case ToolCallDelta(choice, index, arguments):
            call = {"index": index, "function": {"arguments": arguments}}
            return _delta(choice, {"tool_calls": [call]})
        case Finish(choice, reason, stop_sequence):
            return _delta(choice, {}) | {"finish_reason": reason, "stop_reason": stop_sequence}
        case _:
            raise AssertionError("usage belongs to no choice")


def _delta(choice: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}
