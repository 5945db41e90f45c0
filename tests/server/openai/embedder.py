"""A scripted embedder: a token for each word, a vector from a text's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.testclient import TestClient

from tests.server.forming import surface_app

WIDTH = 4


class Words:
    """Each word is the token 10 + its length, between a beginning (1) and an end (2)."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[1, *(10 + len(word) for word in text.split()), 2] for text in texts]

    def cut(self, ids: list[int], limit: int) -> list[int]:
        return [*ids[: limit - 1], ids[-1]]


@dataclass
class ScriptedEmbedder:
    """Counts tokens of 11, 12, 13 and others, at length one."""

    name: str = "embedder"
    width: int = WIDTH
    vocabulary: int = 100
    context_tokens: int = 8
    tokenizer: Words = field(default_factory=Words)
    asked: list[list[int]] = field(default_factory=list)

    async def embed(self, texts: list[list[int]], asker: object) -> NDArray[np.float32]:
        self.asked += texts
        return np.array([vector(text) for text in texts], np.float32)


def vector(tokens: list[int]) -> NDArray[np.float32]:
    """What the embedder gives for one text, (WIDTH,)."""
    words = [token for token in tokens if token > 2]
    counts = [words.count(11), words.count(12), words.count(13)]
    row = np.array([*counts, len(words) - sum(counts)], np.float32)
    length = np.linalg.norm(row)
    return (row / length if length else row).astype(np.float32)


def client(router: APIRouter, embedder: ScriptedEmbedder | None = None) -> Any:
    app = surface_app("openai", router)
    app.state.house.residents.embedders["embedder"] = embedder or ScriptedEmbedder()
    return TestClient(app)
