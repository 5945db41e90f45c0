"""The starter embedder against sentence-transformers' arithmetic, text by text.

Oracle: BertModel of transformers 5.23 on torch 2.13 in float32, one text at a time; the mean of its
tokens, divided by its length. Texts of one word are the hardest: nothing is averaged.

| 1 - cosine | seen, worst text | bound | reason                                              |
|------------|------------------|-------|-----------------------------------------------------|
| float32    | 3e-12            | 1e-9  | sums in another order                               |
| int16      | 6e-6             | 5e-5  | matrices and activations of 13 bits, through 6      |
|            |                  |       | layers; int8 would be 1.5e-3, so it is not offered  |
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freehold
from freehold.local import EmbeddingModel

pytestmark = [pytest.mark.parity, pytest.mark.weights]

BOUNDS = {"float32": 1e-9, "int16": 5e-5}
TEXTS = (
    "a",
    "Bahnhof",
    "photosynthesis",
    "?",
    "",
    "12345.678e-9",
    "The quick brown fox jumps over the lazy dog.",
    "the the the the the the",
    "SELECT name FROM users WHERE id = 7;",
    "def f(x):\n    return x ** 2",
    "Привет, мир! Как дела?",
    "日本語のテキストです。",
    "Ünïcödé straße, naïve café",
    "🙂🙂 emoji",
    "https://example.org/path?query=1#part",
    "A sentence of some length about nothing in particular, which goes on for a while. " * 12,
)


@lru_cache
def oracle(folder: Path) -> Any:
    from transformers import BertModel

    return BertModel.from_pretrained(folder).eval()


def expected(folder: Path, ids: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        tokens = oracle(folder)(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    row = tokens.mean(axis=0).astype(np.float64)
    return row / np.linalg.norm(row)


@pytest.mark.parametrize("precision", BOUNDS)
def test_every_text_agrees_with_sentence_transformers(embedder_path: Path, precision: str) -> None:
    model = freehold.load(embedder_path, precision=precision)
    assert isinstance(model, EmbeddingModel)
    ours = model.embed(TEXTS).astype(np.float64)
    theirs = np.array([expected(embedder_path, model.tokenizer.encode(text)) for text in TEXTS])
    cosine = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1)
    assert cosine.min() >= 1 - BOUNDS[precision]


def test_texts_become_the_tokens_of_transformers(embedder_path: Path) -> None:
    from transformers import BertTokenizer

    model = freehold.load(embedder_path)
    assert isinstance(model, EmbeddingModel)
    theirs = BertTokenizer.from_pretrained(embedder_path)
    for text in TEXTS:
        assert model.tokenizer.encode(text) == theirs(text)["input_ids"], text


def test_a_control_token_in_a_text_is_text(embedder_path: Path) -> None:
    """Other than in transformers: nobody's words end the text for the model."""
    model = freehold.load(embedder_path)
    assert isinstance(model, EmbeddingModel)
    ids = model.tokenizer.encode("before [SEP] after [MASK]")
    assert ids.count(102) == 1
    assert 103 not in ids
