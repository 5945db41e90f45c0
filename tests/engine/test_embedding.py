"""The embedder packs, restores the order and refuses, whatever the encoder is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
import pytest

from freehold.engine.embedding import Embedder, shortened
from freehold.errors import BadConfig, BadPrompt, BadRequest, PromptTooLong
from freehold.models.base import Slot
from freehold.ops import Packed, Tensor


class Echo:
    """Gives each token its own id as a vector, and remembers what it was given."""

    width = 4
    vocabulary = 100
    context_tokens = 50

    def __init__(self) -> None:
        self.seen: list[list[list[int]]] = []

    @classmethod
    def slots(cls, config: object) -> Mapping[str, Slot]:
        return {}

    def pack(self, texts: Sequence[Sequence[int]]) -> Packed:
        self.seen.append([list(text) for text in texts])
        tokens = [token for text in texts for token in text]
        return Packed(tokens, [0, *accumulate(map(len, texts))])

    def forward(self, packed: Packed) -> Tensor:
        tokens = [token for text in self.seen[-1] for token in text]
        out = Tensor(packed.count, self.width)
        out.fill(np.repeat(np.array(tokens, np.float32)[:, None], self.width, axis=1))
        return out


def embedder(echo: Echo, *, step_tokens: int = 8, max_tokens: int | None = None) -> Embedder:
    return Embedder(
        echo, pooling="mean", normalise=False, step_tokens=step_tokens, max_tokens=max_tokens
    )


def test_vectors_come_in_the_order_of_the_texts() -> None:
    echo = Echo()
    texts = [[5] * 7, [1], [9, 9], [3] * 20, [2] * 3, [8]]
    out = embedder(echo).embed(texts)
    assert out[:, 0].tolist() == [5, 1, 9, 3, 2, 8]
    assert out.shape == (6, 4)
    assert out.dtype == np.float32


def test_a_pass_stays_within_the_budget_unless_one_text_is_longer() -> None:
    echo = Echo()
    embedder(echo).embed([[1] * n for n in (3, 5, 4, 20, 1, 1, 2)])
    sizes = [sum(map(len, batch)) for batch in echo.seen]
    assert sum(sizes) == 36
    assert all(size <= 8 or len(batch) == 1 for size, batch in zip(sizes, echo.seen, strict=True))
    assert max(map(len, echo.seen)) > 1


def test_the_result_of_one_call_is_not_touched_by_the_next() -> None:
    model = embedder(Echo())
    first = model.embed([[7]])
    model.embed([[8]])
    assert first[0, 0] == 7


def test_what_cannot_be_embedded_is_refused_before_any_work() -> None:
    echo = Echo()
    model = embedder(echo, max_tokens=10)
    for texts, kind, param in (
        ([[1], []], BadPrompt, "input.1"),
        ([[1], [2] * 11], PromptTooLong, "input.1"),
        ([[100]], BadPrompt, "input.0"),
        ([[-1]], BadPrompt, "input.0"),
    ):
        with pytest.raises(kind) as caught:
            model.embed(texts)
        assert caught.value.param == param
    assert echo.seen == []
    assert model.embed([]).shape == (0, 4)


def test_vectors_that_are_not_finite_are_never_given() -> None:
    class Broken(Echo):
        def forward(self, packed: Packed) -> Tensor:
            out = Tensor(packed.count, self.width)
            out.fill(np.full((packed.count, self.width), np.nan, np.float32))
            return out

    with pytest.raises(BadConfig, match="finite"):
        embedder(Broken()).embed([[1]])


def test_shortened_vectors_have_length_one_again() -> None:
    vectors = np.array([[3, 4, 12], [0, 0, 1]], np.float32)
    assert np.allclose(shortened(vectors, 2), [[0.6, 0.8], [0.0, 0.0]])
    assert shortened(vectors, None) is vectors
    assert np.array_equal(shortened(vectors, 3), vectors)
    for wrong in (0, -1, 4):
        with pytest.raises(BadRequest) as caught:
            shortened(vectors, wrong)
        assert caught.value.param == "dimensions"
