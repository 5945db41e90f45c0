"""Ollama's own client over the whole app and the starter embedder in its own process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import ollama
import pytest

import freehold
from freehold.config import resolve_settings
from freehold.server.residents import Residents
from tests.server.whole import whole_app

pytestmark = pytest.mark.weights

T = TypeVar("T")
TEXTS = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose."]


def ask(
    home: Path, embedder: Path, conversation: Callable[[ollama.AsyncClient, str], Awaitable[T]]
) -> T:
    async def talk(house: Any, app: Any) -> T:
        house.residents = Residents(settings=resolve_settings({"home": home}), refs=[str(embedder)])
        (card,) = house.residents.cards()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        try:
            async with ollama.AsyncClient("http://localhost", transport=transport) as client:
                return await conversation(client, card.id)
        finally:
            await house.residents.close()

    with whole_app(home) as whole:
        return asyncio.run(talk(whole.house, whole.app))


def test_texts_are_embedded_as_from_python(home: Path, embedder_path: Path) -> None:
    async def talk(client: ollama.AsyncClient, model: str) -> Any:
        reply = await client.embed(model, TEXTS)
        assert (reply.prompt_eval_count or 0) > 3 * len(TEXTS)
        older = await client.embeddings(model, TEXTS[0])
        assert older.embedding == reply.embeddings[0]
        fewer = await client.embed(model, TEXTS[0], dimensions=64)
        assert np.linalg.norm(fewer.embeddings[0]) == pytest.approx(1, abs=1e-5)
        assert len(fewer.embeddings[0]) == 64
        shown = await client.show(model)
        assert shown.capabilities == ["embedding"]
        return reply.embeddings

    vectors = np.array(ask(home, embedder_path, talk), np.float32)
    cat, kitten, rates = vectors
    assert cat @ kitten > cat @ rates + 0.3
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    embedder: Any = freehold.load(str(embedder_path))
    assert np.array_equal(embedder.embed(TEXTS), vectors)


def test_a_text_that_is_too_long_is_cut_only_when_asked(home: Path, embedder_path: Path) -> None:
    async def talk(client: ollama.AsyncClient, model: str) -> None:
        long = "word " * 600
        with pytest.raises(ollama.ResponseError) as caught:
            await client.embed(model, ["short", long])
        assert caught.value.status_code == 400
        assert "input.1" in caught.value.error
        cut = await client.embed(model, ["short", long], truncate=True)
        assert len(cut.embeddings) == 2

    ask(home, embedder_path, talk)


def test_an_embedder_does_not_chat(home: Path, embedder_path: Path) -> None:
    async def talk(client: ollama.AsyncClient, model: str) -> None:
        with pytest.raises(ollama.ResponseError) as caught:
            await client.chat(model, [{"role": "user", "content": "hi"}])
        assert caught.value.status_code == 400

    ask(home, embedder_path, talk)
