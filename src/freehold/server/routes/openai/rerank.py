"""POST /v1/rerank, in the form that Cohere, Jina and vLLM share.

Room: server. Scores are the cosines of an embedder's vectors, or what a judge says that reads query
and document together; every reply says which. Must not know how either is computed.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from freehold.errors import BadRequest, PromptTooLong
from freehold.server.context import Asker, Context
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.judging import judged
from freehold.server.resident import Resident
from freehold.server.routes.openai.forms import Body, NotOffered, in_one_of_its_forms
from freehold.server.routes.openai.lengths import Limit, TokenLimit, cut_or_refuse, limit_of

if TYPE_CHECKING:
    from freehold.server.resident import EmbedderResident

__all__ = [
    "Document",
    "DocumentForm",
    "RerankBody",
    "RerankReply",
    "Result",
    "Usage",
    "rerank",
    "rerank_as_jina",
    "router",
]

router = APIRouter(responses=OPENAPI_ERRORS, tags=["rerank"])

MAX_DOCUMENTS = 2048


class DocumentForm(Body):
    """A document as an object; other fields are refused, since none would be read."""

    text: str


Documents = Annotated[
    list[str | DocumentForm],
    Field(min_length=1, max_length=MAX_DOCUMENTS),
    in_one_of_its_forms(f'1 to {MAX_DOCUMENTS} texts, or objects of one "text"'),
]


class RerankBody(Body):
    """A query and the documents to order by how well they fit it."""

    not_offered: ClassVar = {
        "rank_fields": NotOffered("a document is one text"),
        "max_chunks_per_doc": NotOffered("a document is one text; split it and send the parts"),
        "priority": NotOffered("requests wait fairly, by key", (0,)),
    }
    model: str = Field(min_length=1, max_length=512)
    query: str = Field(min_length=1)
    documents: Documents
    top_n: Annotated[int, Field(ge=1, lt=1 << 31)] | None = Field(
        None, description="How many results; more than documents means all of them."
    )
    return_documents: bool | None = Field(None, description="Whether results repeat the texts.")
    max_tokens_per_doc: TokenLimit = Field(
        None,
        description="Documents beyond so many tokens lose their end, and `truncated` in the reply "
        "lists them; -1: beyond the model's own limit. Null: too long a document is an error.",
    )
    instruction: Annotated[str, Field(min_length=1, max_length=1 << 16)] | None = Field(
        None,
        description="What a reranker judges by; null: the model's own. Not for embedders.",
    )
    user: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Has no effect: keys tell askers apart."
    )


class Document(BaseModel):
    """A document's text."""

    text: str


class Result(BaseModel):
    """A document's place in the request, and its score: a cosine, -1 to 1, or a share, 0 to 1."""

    index: int
    relevance_score: float
    document: Document | None = None


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class RerankReply(BaseModel):
    """The best documents, best first. `scoring` says what the scores are."""

    id: str
    object: Literal["list"] = "list"
    model: str
    scoring: Literal["cosine", "yes_or_no"] = "cosine"
    results: list[Result]
    usage: Usage
    truncated: list[int] | None = None


@dataclass(frozen=True)
class _Scored:
    """A score for each document, the tokens read for them, and which documents were cut."""

    scores: NDArray[np.float64]
    tokens: int
    truncated: list[int]


@router.post("/v1/rerank", response_model_exclude_none=True)
async def rerank(body: RerankBody, ctx: Context) -> RerankReply:
    """The documents by their scores, best first; equal ones keep the request's order."""
    ranker = await ctx.house.residents.ranker(body.model)
    documents = [each if isinstance(each, str) else each.text for each in body.documents]
    scoring: Literal["cosine", "yes_or_no"] = "cosine"
    if isinstance(ranker, Resident):
        scoring, found = "yes_or_no", await _judged(body, documents, ranker, ctx.asker)
    else:
        found = await _compared(body, documents, ranker, ctx.asker)
    order = np.argsort(-found.scores, kind="stable")[: body.top_n]
    return RerankReply(
        id=f"rerank-{uuid.uuid4().hex}",
        model=ranker.name,
        scoring=scoring,
        results=[
            Result(
                index=index,
                relevance_score=float(found.scores[index]),
                document=Document(text=documents[index]) if body.return_documents else None,
            )
            for index in order.tolist()
        ],
        usage=Usage(prompt_tokens=found.tokens, total_tokens=found.tokens),
        truncated=found.truncated or None,
    )


@router.post("/rerank", response_model_exclude_none=True, include_in_schema=False)
async def rerank_as_jina(body: RerankBody, ctx: Context) -> RerankReply:
    """The same where some clients look for it."""
    return await rerank(body, ctx)


async def _compared(
    body: RerankBody, documents: list[str], embedder: EmbedderResident, asker: Asker
) -> _Scored:
    """By the cosine of each document's vector with the query's."""
    if body.instruction is not None:
        raise BadRequest(
            "an embedder follows no instruction", param="instruction", hint="put it into the query"
        )
    limit = limit_of(body.max_tokens_per_doc, embedder, "max_tokens_per_doc")
    texts, truncated = await asyncio.to_thread(_read, body.query, documents, embedder, limit)
    vectors = await embedder.embed(texts, asker)  # (1 + N, D), the query's first
    return _Scored(_cosines(vectors[0], vectors[1:]), sum(map(len, texts)), truncated)


async def _judged(
    body: RerankBody, documents: list[str], resident: Resident, asker: Asker
) -> _Scored:
    """By how likely a judge says yes to each document."""
    limit = limit_of(body.max_tokens_per_doc, resident, "max_tokens_per_doc")
    prompts, truncated = await asyncio.to_thread(_prompts, body, documents, resident, limit)
    scores = await judged(resident, prompts, asker)
    return _Scored(np.array(scores), sum(map(len, prompts)), truncated)


def _prompts(
    body: RerankBody, documents: list[str], resident: Resident, limit: Limit
) -> tuple[list[list[int]], list[int]]:
    """A prompt for each document, and which documents were cut."""
    judge, tokenizer = resident.judge, resident.tokenizer
    assert judge is not None, "only a judge has prompts"
    room = resident.context_tokens - 1 - len(judge.prompt.tokens(body.query, "", body.instruction))
    if room < 1:
        raise _too_long("query", resident)
    most = min(limit.tokens, room) if limit.cuts else room
    prompts, truncated = [], []
    for index, whole in enumerate(documents):
        document = whole
        ids = tokenizer.encode(document, add_bos=False)
        if len(ids) > most:
            if not limit.cuts:
                raise _too_long(f"documents.{index}", resident)
            # A character that the cut took apart is left out.
            document = tokenizer.decode(ids[:most], skip_special=False).rstrip("\ufffd")
            truncated.append(index)
        prompt = judge.prompt.tokens(body.query, document, body.instruction)
        if len(prompt) >= resident.context_tokens:
            raise _too_long(f"documents.{index}", resident)
        prompts.append(prompt)
    return prompts, truncated


def _too_long(param: str, resident: Resident) -> PromptTooLong:
    return PromptTooLong(
        f"the query and this document do not fit the {resident.context_tokens} tokens that the "
        "model reads; nothing was shortened",
        param=param,
        expected=f"at most {resident.context_tokens} tokens with the model's own prompt",
        hint="split it into parts, or let max_tokens_per_doc cut it",
    )


def _read(
    query: str, documents: list[str], embedder: EmbedderResident, limit: Limit
) -> tuple[list[list[int]], list[int]]:
    """The tokens of the query and the documents, and which documents were cut."""
    whole = Limit(embedder.context_tokens, cuts=False)
    tokens = embedder.tokenizer.encode_batch([query, *documents])
    first, _ = cut_or_refuse(tokens[:1], embedder, whole, "query")
    rest, truncated = cut_or_refuse(tokens[1:], embedder, limit, "documents.{}")
    return first + rest, truncated


def _cosines(query: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine of each row (N, D) with the query (D,); 0 for a vector of zeros."""
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * float(np.linalg.norm(query.astype(np.float64)))
    products: NDArray[np.float64] = wide @ query.astype(np.float64)
    cosines: NDArray[np.float64] = np.divide(
        products, lengths, out=np.zeros_like(products), where=lengths > 0
    )
    return np.clip(cosines, -1.0, 1.0)
