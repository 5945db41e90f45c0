"""How sure a figure is: intervals, and two models compared on the same items.

Room: evals. Numbers only; must not know tasks or models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FEW",
    "Difference",
    "Estimate",
    "mcnemar",
    "mean_estimate",
    "paired_difference",
    "ratio_estimate",
    "share_estimate",
]

FEW = 30  # fewer items than this say little, and it is said
_Z = 1.959963984540054  # of 95 %
_DRAWS = 2000
_CHUNK = 1 << 22  # of drawn indices, held at once

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its 95 % interval. `method` is "wilson" or "bootstrap"; `n` counts items."""

    value: float
    low: float
    high: float
    n: int
    method: str

    @property
    def few(self) -> bool:
        """Whether there are too few items to say much."""
        return self.n < FEW

    def as_dict(self) -> dict[str, Any]:
        """By name, as JSON has it; what is not a number is null."""
        told = {key: _plain(value) for key, value in asdict(self).items()}
        return told | {"few": self.few}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The second model's figure less the first's, over the same items, with a 95 % interval.

    `p` is how likely a difference at least as large would be if both were alike: McNemar's exact
    test for right and wrong, else the bootstrap's. `wins` counts items where the second was better.
    """

    value: float
    low: float
    high: float
    p: float
    wins: int
    losses: int
    ties: int
    method: str

    @property
    def n(self) -> int:
        """How many items both answered."""
        return self.wins + self.losses + self.ties

    def as_dict(self) -> dict[str, Any]:
        """By name, as JSON has it."""
        told = {key: _plain(value) for key, value in asdict(self).items()}
        return told | {"n": self.n, "few": self.n < FEW}


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def share_estimate(passed: float, n: int) -> Estimate:
    """A share of items with Wilson's interval. Source: Wilson 1927, without correction."""
    if n == 0:
        return Estimate(value=math.nan, low=0.0, high=1.0, n=0, method="wilson")
    share, wide = passed / n, _Z * _Z / n
    middle = (share + wide / 2) / (1 + wide)
    half = _Z / (1 + wide) * math.sqrt(share * (1 - share) / n + wide / (4 * n))
    # At the edges the interval ends exactly there; rounding must not say otherwise.
    low = 0.0 if passed == 0 else max(0.0, middle - half)
    high = 1.0 if passed == n else min(1.0, middle + half)
    return Estimate(value=share, low=low, high=high, n=n, method="wilson")


def mean_estimate(values: Sequence[float]) -> Estimate:
    """A mean with the bootstrap's interval; the draws are always the same ones."""
    each = np.asarray(values, np.float64)
    if not each.size:
        return Estimate(value=math.nan, low=math.nan, high=math.nan, n=0, method="bootstrap")
    low, high = np.quantile(_drawn_sums(each[:, None])[:, 0] / each.size, (0.025, 0.975))
    return Estimate(
        value=float(each.mean()), low=float(low), high=float(high), n=each.size, method="bootstrap"
    )


def ratio_estimate(nats: Sequence[float], counts: Sequence[float]) -> Estimate:
    """The perplexity exp(sum of nats / sum of counts), items drawn as wholes."""
    pairs = np.stack([np.asarray(nats, np.float64), np.asarray(counts, np.float64)], axis=1)
    if not pairs.size or pairs[:, 1].sum() <= 0:
        return Estimate(value=math.nan, low=math.nan, high=math.nan, n=0, method="bootstrap")
    sums = _drawn_sums(pairs)
    low, high = np.quantile(sums[:, 0] / np.maximum(sums[:, 1], 1e-12), (0.025, 0.975))
    mean = pairs[:, 0].sum() / pairs[:, 1].sum()
    return Estimate(
        value=_exp(mean), low=_exp(low), high=_exp(high), n=len(pairs), method="bootstrap"
    )


def mcnemar(wins: int, losses: int) -> float:
    """The exact two-sided p of McNemar's test: a coin that fell `wins` times one way."""
    n, less = wins + losses, min(wins, losses)
    if n == 0:
        return 1.0
    term = total = 1
    for k in range(less):
        term = term * (n - k) // (k + 1)
        total += term
    # Whole numbers until the end: 2**n is beyond what a float holds.
    return min(1.0, 2 * total / (1 << n))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The second less the first, item by item. Both are right-or-wrong, or both are scores."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    change = b - a
    wins, losses = int((change > 0).sum()), int((change < 0).sum())
    if not change.size:
        return Difference(
            value=math.nan, low=math.nan, high=math.nan, p=1.0, wins=0, losses=0, ties=0, method=""
        )
    means = _drawn_sums(change[:, None])[:, 0] / change.size
    low, high = np.quantile(means, (0.025, 0.975))
    binary = bool(np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all())
    if binary:
        p = mcnemar(wins, losses)
    else:
        tail = min(float((means <= 0).mean()), float((means >= 0).mean()))
        p = min(1.0, 2 * max(tail, 1 / _DRAWS))
    return Difference(
        value=float(change.mean()),
        low=float(low),
        high=float(high),
        p=p,
        wins=wins,
        losses=losses,
        ties=change.size - wins - losses,
        method="mcnemar" if binary else "bootstrap",
    )


def _drawn_sums(rows: Floats) -> Floats:
    """Sums over items drawn with replacement, (draws, columns). Peak memory: 4 M indices."""
    random = np.random.Generator(np.random.PCG64(0))
    n, step = len(rows), max(1, _CHUNK // len(rows))
    out = np.empty((_DRAWS, rows.shape[1]))
    for start in range(0, _DRAWS, step):
        stop = min(start + step, _DRAWS)
        out[start:stop] = rows[random.integers(0, n, (stop - start, n))].sum(axis=1)
    return out


def _exp(nats: float) -> float:
    return math.exp(min(float(nats), 700.0))
