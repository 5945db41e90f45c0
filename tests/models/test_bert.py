"""The BERT family against transformers at toy size: random weights, pooled vectors compared.

Oracle: BertModel and RobertaModel of transformers 5.23 on torch 2.13, float32, one text at a time.

| what, of the oracle's rms       | seen   | bound | reason                                        |
|---------------------------------|--------|-------|-----------------------------------------------|
| rms difference, float32         | 4e-7   | 2e-6  | sums in another order                         |
| rms difference, int16           | 7e-4   | 3e-3  | matrices and activations of 13 bits: 2^-13 of |
|                                 |        |       | the largest of 128 each, through 4 layers     |

A wrong position, type, norm or pooling differs by its own size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold.engine.embedding import Embedder
from freehold.loading.encoder import load_encoder
from tests.models import toy_encoder as toys
from tests.models.toy_encoder import Array, ToyEncoder

pytestmark = pytest.mark.parity

BOUNDS = {"float32": 2e-6, "int16": 3e-3}
LENGTHS = (1, 2, 3, 5, 17, 32, 33, 60, 4, 9)


@dataclass(frozen=True)
class Case:
    """A toy, its directory, texts, and their vectors (N, D)."""

    toy: ToyEncoder
    folder: Path
    texts: list[list[int]]
    vectors: Array


@pytest.fixture(scope="module", params=toys.TOYS, ids=lambda toy: toy.name.replace(" ", "-"))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    toy: ToyEncoder = request.param
    model = toy.oracle()
    folder = toys.save(toy, model, tmp_path_factory.mktemp("toy") / "model")
    rng = np.random.default_rng(len(toy.name))
    # Not id 1: RobertaModel takes it for padding and gives it no position.
    texts = [rng.integers(2, len(toys.VOCABULARY), n).tolist() for n in LENGTHS]
    return Case(toy, folder, texts, np.array([toys.pooled(toy, model, t) for t in texts]))


def embedder(case: Case, precision: str, **settings: Any) -> Embedder:
    loaded = load_encoder(case.folder, precision=precision)
    sentence = loaded.plan.sentence
    return Embedder(
        loaded.encoder, pooling=sentence.pooling, normalise=sentence.normalise, **settings
    )


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@pytest.mark.parametrize("precision", BOUNDS)
def test_vectors_match_transformers(case: Case, precision: str) -> None:
    ours = embedder(case, precision).embed(case.texts)
    assert ours.shape == case.vectors.shape
    assert rms(ours - case.vectors) <= BOUNDS[precision] * rms(case.vectors)


@pytest.mark.parametrize("precision", BOUNDS)
def test_a_vector_is_the_same_bits_in_any_company(case: Case, precision: str) -> None:
    together = embedder(case, precision).embed(case.texts)
    small = embedder(case, precision, step_tokens=40)
    assert np.array_equal(small.embed(case.texts[::-1])[::-1], together)
    for text, vector in zip(case.texts, together, strict=True):
        assert np.array_equal(small.embed([text])[0], vector)
