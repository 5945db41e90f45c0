"""POST /v1/messages and /v1/messages/count_tokens.

Room: server. Joins the request's meaning, the resident and the events; knows none of their insides.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from freehold.errors import FreeholdError
from freehold.server.context import Context
from freehold.server.http_errors import OPENAPI_ERRORS, error_body
from freehold.server.naming import named_as
from freehold.server.presence import unless_gone
from freehold.server.routes.anthropic.asks import ask_of, counted, thinking_budget
from freehold.server.routes.anthropic.events import Frame, Outline, frames_of, sse, whole
from freehold.server.routes.anthropic.requests import CountBody, CustomTool, MessagesBody
from freehold.server.streams import stream

__all__ = ["count_tokens", "create_message", "router"]

# What an `Ask` calls what this interface calls otherwise.
NAMES = {"response_format": "output_config.format", "stop": "stop_sequences"}

router = APIRouter(tags=["anthropic"], responses=OPENAPI_ERRORS)

ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The message, or with `stream` its events.",
        "content": {"application/json": {}, "text/event-stream": {}},
    }
}


@router.post("/v1/messages", response_model=None, responses=ANSWERED)
async def create_message(body: MessagesBody, ctx: Context, request: Request) -> Response:
    """Answer a conversation, whole or as a stream of events."""
    ask = ask_of(body)
    resident = await ctx.house.residents.chat(body.model)
    with named_as(NAMES):
        answer = await resident.answer(ask, ctx.asker)
    outline = Outline(
        id=f"msg_{uuid.uuid4().hex}",
        model=resident.name,
        held_tools=_held(body),
        thinking_budget=thinking_budget(body),
        count=lambda text: len(resident.tokenizer.encode(text)),
    )
    frames = frames_of(answer, outline)
    response: Response
    if body.stream:
        # Begun here, so that whoever drops it closes the answer.
        first = await anext(frames)
        response = _streamed(first, frames, ctx.asker.request_id)
    else:
        message = await unless_gone(request, whole(frames))
        response = JSONResponse(message)
    # Anthropic's clients look for the id under this name.
    response.headers["request-id"] = ctx.asker.request_id
    return response


@router.post("/v1/messages/count_tokens", response_model=None)
async def count_tokens(body: CountBody, ctx: Context) -> dict[str, int]:
    """How many tokens a conversation is to the model, template and tools included."""
    ask = counted(body)
    resident = await ctx.house.residents.chat(body.model)
    with named_as(NAMES):
        tokens = await asyncio.to_thread(resident.prompt, ask)
    return {"input_tokens": len(tokens)}


def _held(body: MessagesBody) -> frozenset[str]:
    tools = (tool for tool in body.tools if isinstance(tool, CustomTool))
    return frozenset(tool.name for tool in tools if tool.eager_input_streaming is False)


def _streamed(first: Frame, frames: AsyncGenerator[Frame, None], request_id: str) -> Response:
    async def events() -> AsyncGenerator[str, None]:
        try:
            yield sse(first)
            async for frame in frames:
                yield sse(frame)
        finally:
            await frames.aclose()

    def last_word(error: FreeholdError) -> str:
        return sse(error_body("anthropic", error, request_id))

    return stream(events(), on_error=last_word)
