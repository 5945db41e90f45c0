"""POST /v1/embeddings, in OpenAI's form.

Room: server. Must not know how vectors are computed.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from freehold.engine.embedding import shortened
from freehold.errors import BadPrompt, BadRequest
from freehold.server.context import Context
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.routes.openai.forms import Body, NotOffered, in_one_of_its_forms
from freehold.server.routes.openai.lengths import Limit, TokenLimit, cut_or_refuse, limit_of
from freehold.server.routes.openai.sampling import TokenId

if TYPE_CHECKING:
    from freehold.server.resident import EmbedderResident

__all__ = ["Embedding", "EmbeddingsBody", "EmbeddingsReply", "Usage", "embeddings", "router"]

router = APIRouter(responses=OPENAPI_ERRORS, tags=["openai"])

MAX_INPUTS = 2048
_MAX_TOKENS = 1 << 16


def _as_inputs(value: object) -> object:
    """One input, as text or tokens, becomes a list of one."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and type(value[0]) is int:
        return [value]
    return value


_Tokens = Annotated[list[TokenId], Field(min_length=1, max_length=_MAX_TOKENS)]
Inputs = Annotated[
    list[str] | list[_Tokens],
    Field(min_length=1, max_length=MAX_INPUTS),
    BeforeValidator(
        _as_inputs, json_schema_input_type=str | list[str] | list[int] | list[list[int]]
    ),
    in_one_of_its_forms(
        f"a text, token ids, or a list of up to {MAX_INPUTS} of either, none of them empty"
    ),
]


class EmbeddingsBody(Body):
    """Texts to turn into vectors."""

    not_offered: ClassVar = {
        "add_special_tokens": NotOffered("send tokens, which are taken as they are", (True,)),
        "priority": NotOffered("requests wait fairly, by key", (0,)),
        "normalize": NotOffered("vectors are as the model's files say"),
        "input_type": NotOffered("write the model's own prompt before the text"),
        "task": NotOffered("write the model's own prompt before the text"),
    }
    model: str = Field(min_length=1, max_length=512)
    input: Inputs = Field(
        description="Token ids are this model's own, with the marks around a text."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64: little-endian float32. Default float."
    )
    dimensions: Annotated[int, Field(ge=1, le=1 << 20)] | None = Field(
        None,
        description="The first so many numbers, at length one again. Models that were not trained "
        "for it lose more than those that were.",
    )
    user: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Has no effect: keys tell askers apart."
    )
    truncate_prompt_tokens: TokenLimit = Field(
        None,
        description="Texts beyond so many tokens lose their end, and `truncated` in the reply "
        "lists them; -1: beyond the model's own limit. Null: too long a text is an error.",
    )


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class Embedding(BaseModel):
    """One text's vector; base64 holds little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsReply(BaseModel):
    """The vectors, in the order of the input."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage
    truncated: list[int] | None = None


@router.post("/v1/embeddings", response_model=EmbeddingsReply)
async def embeddings(body: EmbeddingsBody, ctx: Context) -> Response:
    """A vector for each text. A text too long is an error, unless it may be truncated."""
    embedder = await ctx.house.residents.embedder(body.model)
    limit = limit_of(body.truncate_prompt_tokens, embedder, "truncate_prompt_tokens")
    texts, truncated = await asyncio.to_thread(_read, body.input, embedder, limit)
    _check_dimensions(body.dimensions, embedder.width)
    vectors = shortened(await embedder.embed(texts, ctx.asker), body.dimensions)
    tokens = sum(map(len, texts))
    as_base64 = body.encoding_format == "base64"
    content = await asyncio.to_thread(_reply, vectors, embedder.name, tokens, truncated, as_base64)
    return Response(content, media_type="application/json")


def _check_dimensions(dimensions: int | None, width: int) -> None:
    shortened(np.zeros((1, width), np.float32), dimensions)


def _read(
    inputs: list[str] | list[list[int]], embedder: EmbedderResident, limit: Limit
) -> tuple[list[list[int]], list[int]]:
    """The inputs' tokens, and which of them were cut."""
    words = [each for each in inputs if isinstance(each, str)]
    if "" in words:
        raise BadRequest(
            f"input {words.index('')} is empty",
            param=f"input.{words.index('')}",
            expected="a text of at least one character",
            found="none",
        )
    tokens = [each for each in inputs if not isinstance(each, str)]
    for index, each in enumerate(tokens):
        if max(each) >= embedder.vocabulary:
            raise BadPrompt(
                f"input {index} has a token id outside the vocabulary",
                param=f"input.{index}",
                value=max(each),
                expected=f"0 to {embedder.vocabulary - 1}",
                found=str(max(each)),
            )
    texts = embedder.tokenizer.encode_batch(words) if words else tokens
    return cut_or_refuse(texts, embedder, limit, "input.{}")


def _reply(
    vectors: NDArray[np.float32], name: str, tokens: int, truncated: list[int], as_base64: bool
) -> bytes:
    """The reply as JSON, the numbers written straight: they are nearly all of it."""
    # Nine digits give every float32 back, and are half of what a float64 needs.
    form = ",".join(["%.9g"] * vectors.shape[1])
    data = []
    for index, vector in enumerate(vectors):
        if as_base64:
            words = base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
            shown = f'"{words}"'
        else:
            shown = f"[{form % tuple(vector.tolist())}]"
        data.append(f'{{"object":"embedding","index":{index},"embedding":{shown}}}')
    rest = EmbeddingsReply(
        object="list",
        data=[],
        model=name,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        truncated=truncated or None,
    ).model_dump_json(exclude={"data"}, exclude_none=True)
    return f'{rest[:-1]},"data":[{",".join(data)}]}}'.encode()
