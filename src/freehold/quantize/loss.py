"""What was lost: two models on one text, position by position.

Room: quantize. Must not know files or how either model came about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.engine.pages import Sequence as Text
from freehold.engine.runner import Part, Runner
from freehold.models.base import Model

__all__ = ["Loss", "Meter", "logits_of", "measure"]

Wide = NDArray[np.float64]

_STEP_TOKENS = 128  # positions whose logits are held at once


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How a model's predictions differ from its source's, over all positions of a text.

    Units: KL in nats, of the source from the model. Agreement is the share of positions where
    both put the same token first.
    """

    mean_kl: float
    p99_kl: float
    agreement: float
    perplexity: float
    source_perplexity: float
    tokens: int

    def as_dict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


class Meter:
    """Gathers positions of two models; `loss` sums up."""

    def __init__(self) -> None:
        self._kl: list[Wide] = []
        self._agrees: list[NDArray[np.bool_]] = []
        self._surprise: list[Wide] = []
        self._source_surprise: list[Wide] = []

    def add(
        self, source: NDArray[np.float32], model: NDArray[np.float32], following: Sequence[int]
    ) -> None:
        """Takes logits (T, V) of both, and the tokens that follow; one fewer at a text's end."""
        kl, source_sums, sums = np.array(ops.diverge(source, model)).T  # (T,) each
        self._kl.append(kl)
        self._agrees.append(source.argmax(axis=1) == model.argmax(axis=1))
        count = len(following)
        places = np.arange(count), np.asarray(following, np.int64)
        self._source_surprise.append(source_sums[:count] - source[places])
        self._surprise.append(sums[:count] - model[places])

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added."""
        return not self._kl

    def loss(self) -> Loss:
        """The loss over everything that was added."""
        kl = np.maximum(np.concatenate(self._kl), 0.0)
        return Loss(
            mean_kl=float(kl.mean()),
            p99_kl=float(np.quantile(kl, 0.99)),
            agreement=float(np.concatenate(self._agrees).mean()),
            perplexity=_exp(np.concatenate(self._surprise)),
            source_perplexity=_exp(np.concatenate(self._source_surprise)),
            tokens=len(kl),
        )


def measure(
    source: Model,
    model: Model,
    texts: Sequence[Sequence[int]],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Loss:
    """Runs both models over the texts. Peak memory: 128 rows of logits of each."""
    meter, done, total = Meter(), 0, sum(map(len, texts))
    for text in texts:
        for start, ours, theirs in _pairs(source, model, text):
            meter.add(ours, theirs, text[start + 1 : start + 1 + len(ours)])
            done += len(ours)
            progress(done, total)
    return meter.loss()


def _pairs(
    source: Model, model: Model, text: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    both = zip(logits_of(source, text), logits_of(model, text), strict=True)
    start = 0
    for ours, theirs in both:
        yield start, ours, theirs
        start += len(ours)


def logits_of(model: Model, text: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """The logits of a text in pieces, (T, V); each is valid until the next is asked for."""
    runner, sequence = Runner(model, tokens=len(text), slots=1), Text()
    for start in range(0, len(text), _STEP_TOKENS):
        piece = list(text[start : start + _STEP_TOKENS])
        yield runner.run([Part(sequence, piece, len(piece))])


def _exp(surprise: Wide) -> float:
    """The perplexity of positions' surprises in nats."""
    return float(math.exp(min(float(surprise.mean()), 700.0))) if surprise.size else math.nan
