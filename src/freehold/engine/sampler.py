"""Which token comes next.

Room: engine. Knows logits (V,) and what was said before; must not know text or models.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadSampling

__all__ = ["Sampler", "Sampling"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn. The default is greedy: always the likeliest token.

    Units: penalties are in logits, except `repetition_penalty`, a factor.
    Raises: BadSampling, naming the parameter.
    """

    temperature: float = 0.0
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        _within("temperature", self.temperature, 0.0, 100.0)
        _within("top_p", self.top_p, 0.0, 1.0, open_low=True)
        _within("min_p", self.min_p, 0.0, 1.0)
        _within("repetition_penalty", self.repetition_penalty, 0.0, 100.0, open_low=True)
        _within("presence_penalty", self.presence_penalty, -100.0, 100.0)
        _within("frequency_penalty", self.frequency_penalty, -100.0, 100.0)
        _whole("top_k", self.top_k, 0, 1 << 31)
        if self.seed is not None:
            _whole("seed", self.seed, 0, (1 << 64) - 1)


def _within(name: str, value: object, low: float, high: float, *, open_low: bool = False) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        above = value > low if open_low else value >= low
        if math.isfinite(value) and above and value <= high:
            return
    raise BadSampling(
        f"{name} is out of range",
        value=value,
        expected=f"a number {'above' if open_low else 'from'} {low:g} up to {high:g}",
        found=repr(value),
    )


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadSampling(
            f"{name} is out of range",
            value=value,
            expected=f"a whole number from {low} to {high}",
            found=repr(value),
        )


class Sampler:
    """Draws tokens for one sequence; the same seed and logits give the same tokens."""

    def __init__(self, sampling: Sampling, prompt: list[int]) -> None:
        self.sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))
        self._seen = set(prompt)
        self._counts: Counter[int] = Counter()

    def next(self, logits: NDArray[np.float32]) -> int:
        """The next token for logits (V,), which are left as they are."""
        s = self.sampling
        logits = self._penalised(logits)
        token = int(np.argmax(logits)) if s.temperature == 0.0 else self._draw(logits)
        self._seen.add(token)
        self._counts[token] += 1
        return token

    def _penalised(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        s = self.sampling
        if s.repetition_penalty == 1.0 and not (s.presence_penalty or s.frequency_penalty):
            return logits
        logits = logits.copy()
        if s.repetition_penalty != 1.0:  # arXiv 1909.05858: prompt and answer alike
            seen = np.fromiter(self._seen, dtype=np.int64)
            values = logits[seen]
            logits[seen] = np.where(
                values > 0, values / s.repetition_penalty, values * s.repetition_penalty
            )
        if self._counts:  # the answer's own tokens, as the OpenAI interface defines them
            ids = np.fromiter(self._counts, dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float32)
            logits[ids] -= s.presence_penalty + s.frequency_penalty * counts
        return logits

    def _draw(self, logits: NDArray[np.float32]) -> int:
        s = self.sampling
        if 0 < s.top_k < logits.size:
            ids = np.argpartition(logits, -s.top_k)[-s.top_k :]
        else:
            ids = np.arange(logits.size)
        # Likeliest first; ties by id, so that the order never depends on the partition.
        ids = ids[np.lexsort((ids, -logits[ids]))]
        scaled = logits[ids].astype(np.float64) / s.temperature
        weights = np.exp(scaled - scaled[0])
        if s.top_p < 1.0:
            mass = np.cumsum(weights) / weights.sum()
            weights = weights[: int(np.searchsorted(mass, s.top_p)) + 1]
        if s.min_p > 0.0:
            weights = weights[weights >= s.min_p * weights[0]]
        edges = np.cumsum(weights)
        place = int(np.searchsorted(edges, self._random.random() * edges[-1], side="right"))
        return int(ids[min(place, edges.size - 1)])
