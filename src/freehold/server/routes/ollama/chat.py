"""POST /api/chat and /api/generate.

Room: server. Joins the request's meaning, the resident and the pieces; knows none of their insides.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from freehold.errors import FreeholdError
from freehold.server.context import Context
from freehold.server.http_errors import OPENAPI_ERRORS, error_body
from freehold.server.naming import named_as
from freehold.server.presence import unless_gone
from freehold.server.routes.ollama.asks import ask_of, fitted, generate_ask
from freehold.server.routes.ollama.keeping import Keep, Keeping, seconds_of
from freehold.server.routes.ollama.names import ref_of
from freehold.server.routes.ollama.options import NAMES
from freehold.server.routes.ollama.replies import Outline, Piece, empty, line, pieces_of, whole
from freehold.server.routes.ollama.requests import ChatBody, GenerateBody
from freehold.server.streams import NDJSON, stream

if TYPE_CHECKING:
    from freehold.server.ask import Ask

__all__ = ["chat", "generate", "router"]

router = APIRouter(tags=["ollama"], responses=OPENAPI_ERRORS)

ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer's pieces, a line each; without `stream` the answer.",
        "content": {"application/json": {}, "application/x-ndjson": {}},
    }
}


@router.post("/api/chat", response_model=None, responses=ANSWERED)
async def chat(body: ChatBody, ctx: Context, keep: Keep, request: Request) -> Response:
    """Answer a conversation, as a stream of lines unless `stream` is false."""
    return await _reply(body, ask_of(body), ctx, keep, request)


@router.post("/api/generate", response_model=None, responses=ANSWERED)
async def generate(body: GenerateBody, ctx: Context, keep: Keep, request: Request) -> Response:
    """Answer one prompt, as a stream of lines unless `stream` is false."""
    return await _reply(body, generate_ask(body), ctx, keep, request)


async def _reply(
    body: ChatBody | GenerateBody, ask: Ask | None, ctx: Context, keep: Keeping, request: Request
) -> Response:
    outline = Outline(model=body.model, chat=isinstance(body, ChatBody))
    seconds = seconds_of(body.keep_alive)
    ref = ref_of(body.model)
    if ask is None and seconds == 0 and _is_on_disk(ctx, ref):
        return JSONResponse(empty(outline, "unload"))
    resident = await ctx.house.residents.chat(ref)
    outline = replace(outline, loaded_ns=time.perf_counter_ns() - outline.started_ns)
    if ask is None:
        await keep.used(resident.name, seconds)
        return JSONResponse(empty(outline, "unload" if seconds == 0 else "load"))
    names = NAMES if outline.chat else NAMES | {"messages": "prompt"}
    with named_as(names):
        ask = await fitted(ask, resident, body.options.num_ctx if body.options else None)
        answer = await resident.answer(ask, ctx.asker)
    pieces = _kept(pieces_of(answer, outline), keep, resident.name, seconds)
    # Begun here, so that whoever drops it closes the answer.
    await anext(pieces)
    if body.stream is False:
        return JSONResponse(await unless_gone(request, whole(pieces, outline)))
    return _streamed(pieces, ctx.asker.request_id)


def _is_on_disk(ctx: Context, ref: str) -> bool:
    """Whether the model is there and not in memory: it need not be loaded to be unloaded."""
    return any(card.id == ref and not card.loaded for card in ctx.house.residents.cards())


async def _kept(
    pieces: AsyncGenerator[Piece, None], keep: Keeping, name: str, seconds: float | None
) -> AsyncGenerator[Piece, None]:
    try:
        async for piece in pieces:
            yield piece
    finally:
        await pieces.aclose()
        await keep.used(name, seconds)


def _streamed(pieces: AsyncGenerator[Piece, None], request_id: str) -> Response:
    async def lines() -> AsyncGenerator[str, None]:
        try:
            async for piece in pieces:
                yield line(piece)
        finally:
            await pieces.aclose()

    def last_word(error: FreeholdError) -> str:
        return line(error_body("ollama", error, request_id))

    return stream(lines(), on_error=last_word, media_type=NDJSON)
