"""Which token comes next.

Room: engine. Knows logits (V,) and what was said before; must not know text or models.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import BadSampling

__all__ = ["Sampler", "Sampling", "draw"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn. The default is greedy: always the likeliest token.

    Units: penalties are in logits, except `repetition_penalty`, a factor; it looks back over
    `repetition_window` tokens, 0 for all of them.
    Raises: BadSampling, naming the parameter.
    """

    temperature: float = 0.0
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    repetition_window: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()  # (token, what is added to its logit)

    def __post_init__(self) -> None:
        _within("temperature", self.temperature, 0.0, 100.0)
        _within("top_p", self.top_p, 0.0, 1.0, open_low=True)
        _within("min_p", self.min_p, 0.0, 1.0)
        _within("repetition_penalty", self.repetition_penalty, 0.0, 100.0, open_low=True)
        _within("presence_penalty", self.presence_penalty, -100.0, 100.0)
        _within("frequency_penalty", self.frequency_penalty, -100.0, 100.0)
        _whole("top_k", self.top_k, 0, 1 << 31)
        _whole("repetition_window", self.repetition_window, 0, 1 << 31)
        if self.seed is not None:
            _whole("seed", self.seed, 0, (1 << 64) - 1)
        for token, bias in self.logit_bias:
            _whole("logit_bias", token, 0, 1 << 31)
            _within("logit_bias", bias, -100.0, 100.0)


def _within(name: str, value: object, low: float, high: float, *, open_low: bool = False) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        above = value > low if open_low else value >= low
        if math.isfinite(value) and above and value <= high:
            return
    raise BadSampling(
        f"{name} is out of range",
        param=name,
        value=value,
        expected=f"a number {'above' if open_low else 'from'} {low:g} up to {high:g}",
        found=repr(value),
    )


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadSampling(
            f"{name} is out of range",
            param=name,
            value=value,
            expected=f"a whole number from {low} to {high}",
            found=repr(value),
        )


class Sampler:
    """What one sequence's draws depend on; the same seed and logits give the same tokens.

    `branch` tells several answers of one seed apart.
    """

    def __init__(self, sampling: Sampling, prompt: list[int], *, branch: int = 0) -> None:
        self.sampling = sampling
        seed = sampling.seed if branch == 0 or sampling.seed is None else [sampling.seed, branch]
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._seen: set[int] | deque[int] = set()
        if sampling.repetition_penalty != 1.0:
            window = sampling.repetition_window
            self._seen = deque(prompt, maxlen=window) if window else set(prompt)
        self._counts: Counter[int] = Counter()
        self._bias_ids = np.array([token for token, _ in sampling.logit_bias], dtype=np.int64)
        self._bias = np.array([bias for _, bias in sampling.logit_bias], dtype=np.float32)

    @property
    def adjusts(self) -> bool:
        """Whether `adjust` changes anything."""
        s = self.sampling
        penalised = bool(s.repetition_penalty != 1.0 or s.presence_penalty or s.frequency_penalty)
        return penalised or bool(s.logit_bias)

    def adjust(self, logits: NDArray[np.float32]) -> None:
        """Applies penalties, then biases. Mutates: logits (V,)."""
        s = self.sampling
        if self._seen and s.repetition_penalty != 1.0:  # arXiv 1909.05858: prompt and answer alike
            seen = np.fromiter(self._seen, dtype=np.int64)
            values = logits[seen]
            logits[seen] = np.where(
                values > 0, values / s.repetition_penalty, values * s.repetition_penalty
            )
        if self._counts:  # the answer's own tokens, as the OpenAI interface defines them
            ids = np.fromiter(self._counts, dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float32)
            logits[ids] -= s.presence_penalty + s.frequency_penalty * counts
        if self._bias.size:
            logits[self._bias_ids] += self._bias

    def uniform(self) -> float:
        """The next random number in [0, 1); greedy sampling needs none."""
        return self._random.random() if self.sampling.temperature else 0.0

    def took(self, token: int) -> None:
        """Remembers a token for the penalties."""
        if self.adjusts:
            if isinstance(self._seen, set):
                self._seen.add(token)
            else:
                self._seen.append(token)
            self._counts[token] += 1

    def next(self, logits: NDArray[np.float32]) -> int:
        """The next token for logits (V,), which are left as they are."""
        if self.adjusts:
            logits = logits.copy()
            self.adjust(logits)
        (token,) = draw(logits[None], [self])
        self.took(token)
        return token


def draw(logits: NDArray[np.float32], samplers: Sequence[Sampler]) -> list[int]:
    """A token for each row of logits (S, V); -1 where every token is masked."""
    each = [sampler.sampling for sampler in samplers]
    return ops.sample(
        logits,
        [s.temperature for s in each],
        [min(s.top_k, logits.shape[1]) for s in each],
        [s.top_p for s in each],
        [s.min_p for s in each],
        [sampler.uniform() for sampler in samplers],
    )
