"""POST /api/embed and /api/embeddings, the one it replaced.

Room: server. Must not know how vectors are computed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray

from freehold.errors import BadRequest, PromptTooLong
from freehold.server.context import Context
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.routes.ollama.keeping import Keep, seconds_of
from freehold.server.routes.ollama.names import ref_of
from freehold.server.routes.ollama.options import refuse_options
from freehold.server.routes.ollama.requests import EmbedBody, EmbeddingsBody

if TYPE_CHECKING:
    from freehold.server.resident import EmbedderResident

__all__ = ["embed", "embed_prompt", "router"]

router = APIRouter(tags=["ollama"], responses=OPENAPI_ERRORS)

_NOT_DRAWN = (
    "num_predict",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "seed",
    "stop",
    "repeat_penalty",
    "repeat_last_n",
    "presence_penalty",
    "frequency_penalty",
    "num_keep",
    "mirostat_tau",
    "mirostat_eta",
)


@router.post("/api/embed")
async def embed(body: EmbedBody, ctx: Context, keep: Keep) -> dict[str, Any]:
    """Vectors of texts. Where `truncate` cut any, `truncated` lists their places."""
    started = time.perf_counter_ns()
    seconds = seconds_of(body.keep_alive)
    _check_options(body)
    embedder = await ctx.house.residents.embedder(ref_of(body.model))
    loaded = time.perf_counter_ns()
    limit = _limit(body, embedder)
    texts = await asyncio.to_thread(embedder.tokenizer.encode_batch, body.input)
    long = [i for i, tokens in enumerate(texts) if len(tokens) > limit]
    if long and body.truncate is not True:
        raise _too_long(texts, long[0], limit)
    for i in long:
        texts[i] = embedder.tokenizer.cut(texts[i], limit)
    width = _width(body, embedder)
    vectors = await embedder.embed(texts, ctx.asker) if texts else np.zeros((0, width), np.float32)
    await keep.used(embedder.name, seconds)
    reply = {
        "model": body.model,
        "embeddings": _cut(vectors, width).tolist(),
        "total_duration": time.perf_counter_ns() - started,
        "load_duration": loaded - started,
        "prompt_eval_count": sum(map(len, texts)),
    }
    return reply | {"truncated": long} if long else reply


@router.post("/api/embeddings")
async def embed_prompt(body: EmbeddingsBody, ctx: Context, keep: Keep) -> dict[str, Any]:
    """The vector of one text; of none without a text, which only loads the model."""
    texts = [body.prompt] if body.prompt else []
    whole = EmbedBody(
        model=body.model, input=texts, keep_alive=body.keep_alive, options=body.options
    )
    vectors = (await embed(whole, ctx, keep))["embeddings"]
    return {"embedding": vectors[0] if vectors else []}


def _check_options(body: EmbedBody) -> None:
    if body.options is None:
        return
    refuse_options(body.options)
    for name in _NOT_DRAWN:
        if getattr(body.options, name) is not None:
            raise BadRequest(f"{name} means nothing to an embedding", param=f"options.{name}")


def _limit(body: EmbedBody, embedder: EmbedderResident) -> int:
    """How many tokens a text may have."""
    asked = body.options.num_ctx if body.options else None
    if asked is None:
        return embedder.context_tokens
    if not 3 <= asked <= embedder.context_tokens:
        raise BadRequest(
            f"options.num_ctx cannot be {asked}",
            param="options.num_ctx",
            expected=f"3 to {embedder.context_tokens}, the model's context",
        )
    return asked


def _too_long(texts: list[list[int]], i: int, limit: int) -> PromptTooLong:
    return PromptTooLong(
        f"text {i} has {len(texts[i])} tokens and this model reads {limit}",
        param=f"input.{i}",
        value=len(texts[i]),
        hint="split it, or set truncate to true to have it cut",
    )


def _width(body: EmbedBody, embedder: EmbedderResident) -> int:
    width = embedder.width if body.dimensions is None else body.dimensions
    if not 1 <= width <= embedder.width:
        raise BadRequest(
            "dimensions is out of range",
            param="dimensions",
            expected=f"1 to {embedder.width}, the model's width",
            found=str(width),
        )
    return width


def _cut(vectors: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The first `width` numbers of each vector (N, D), at length one again."""
    if width == vectors.shape[1]:
        return vectors
    cut = vectors[:, :width]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    shorter: NDArray[np.float32] = cut / lengths
    return shorter
