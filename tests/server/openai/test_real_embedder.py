"""OpenAI's own client over the whole app and the starter embedder in its own process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import openai
import pytest

import freehold
from freehold.config import resolve_settings
from freehold.server.residents import Residents
from tests.server.whole import whole_app

pytestmark = pytest.mark.weights

T = TypeVar("T")
TEXTS = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose."]


def ask(
    home: Path, embedder: Path, conversation: Callable[[openai.AsyncOpenAI, str], Awaitable[T]]
) -> T:
    async def talk(house: Any, app: Any) -> T:
        house.residents = Residents(settings=resolve_settings({"home": home}), refs=[str(embedder)])
        (card,) = house.residents.cards()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http: Any = httpx.AsyncClient(transport=transport)
        try:
            async with openai.AsyncOpenAI(
                api_key="unused", base_url="http://localhost/v1", http_client=http, max_retries=0
            ) as client:
                return await conversation(client, card.id)
        finally:
            await house.residents.close()

    with whole_app(home) as whole:
        return asyncio.run(talk(whole.house, whole.app))


def test_texts_are_embedded_as_from_python(home: Path, embedder_path: Path) -> None:
    model: Any = freehold.load(embedder_path)
    expected = model.embed(TEXTS)

    async def talk(client: openai.AsyncOpenAI, name: str) -> None:
        packed = await client.embeddings.create(model=name, input=TEXTS)  # base64 on the wire
        plain = await client.embeddings.create(model=name, input=TEXTS, encoding_format="float")
        ids = [model.tokenizer.encode(text) for text in TEXTS]
        tokens = await client.embeddings.create(model=name, input=ids)
        for reply in (packed, plain, tokens):
            assert reply.model == name
            assert reply.usage.prompt_tokens == sum(map(len, ids))
            vectors = np.array([entry.embedding for entry in reply.data], np.float32)
            assert np.array_equal(vectors, expected)
        fewer = await client.embeddings.create(model=name, input=TEXTS[0], dimensions=32)
        row = np.array(fewer.data[0].embedding)
        assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)
        assert row == pytest.approx(expected[0, :32] / np.linalg.norm(expected[0, :32]), abs=1e-6)

    ask(home, embedder_path, talk)


def test_refusals_are_the_client_s_own_errors(home: Path, embedder_path: Path) -> None:
    async def talk(client: openai.AsyncOpenAI, name: str) -> None:
        for text, code in (("word " * 600, "context_length_exceeded"), ("", None)):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.embeddings.create(model=name, input=["short", text])
            assert caught.value.param == "input.1"
            assert code is None or caught.value.code == code
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model=name, input=[[30522]])
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="nonesuch", input="a")
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": "hi"}]
            )

    ask(home, embedder_path, talk)


def test_rerank_puts_the_answer_first(home: Path, embedder_path: Path) -> None:
    async def talk(client: openai.AsyncOpenAI, name: str) -> Any:
        body = {"model": name, "query": "napping kitten on a couch", "documents": TEXTS, "top_n": 2}
        return await client.post("/rerank", body=body, cast_to=object)

    reply = ask(home, embedder_path, talk)
    assert reply["scoring"] == "cosine"
    first, second = reply["results"]
    assert (first["index"], second["index"]) == (1, 0)
    assert 1 > first["relevance_score"] > second["relevance_score"] > 0.2
