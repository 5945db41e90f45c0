"""Statistics of a tensor's values in one pass and bounded memory.

Room: inspection. Must not know what a tensor is for.
Peak memory: some 10 MB, whatever the tensor's size.

Every value is counted by the upper 16 bits of its float32: 128 classes between two powers of two.
From these counts come quantiles and histograms over any range, exact to 1/128 of the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freehold.inspection.weights import CHUNK, Floats, OpenTensor

__all__ = ["Histogram", "Outlier", "TensorStats", "measure_tensor"]

BINS = 64
_CLASSES = 1 << 16
_OUTLIERS = 5
_TAIL = 0.0005  # of the values, left out of a histogram's range at each end


@dataclass(frozen=True)
class Histogram:
    """How many values lie in each of `counts`' equal parts of `low` to `high`.

    What lies beyond is counted in the first and the last part.
    """

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Outlier:
    """One of the largest values: where it is, and how many standard deviations from the mean."""

    place: tuple[int, ...]
    value: float
    deviations: float


@dataclass(frozen=True)
class TensorStats:
    """What the values of a tensor are like; `nans` and `infs` are left out of all the others."""

    minimum: float
    maximum: float
    mean: float
    std: float
    rms: float
    kurtosis: float  # 0 for a normal distribution
    zeros: float  # a share of all
    nans: int
    infs: int
    outliers: tuple[Outlier, ...]
    histogram: Histogram


class _Gathered:
    """What a pass over a tensor adds up."""

    def __init__(self) -> None:
        self.counts = np.zeros(_CLASSES, np.int64)
        self.sums = np.zeros(4)  # of the first four powers
        self.finite = self.zeros = self.nans = self.infs = 0
        self.low, self.high = np.inf, -np.inf
        self.largest = np.empty(0, np.float32)  # by size, the largest ones so far
        self.places = np.empty(0, np.int64)
        self._wide, self._squares = np.empty(CHUNK), np.empty(CHUNK)
        self._classes = np.empty(CHUNK, np.int64)

    def add(self, values: Floats, start: int) -> None:
        """Mutates: itself, by a chunk of values."""
        low, high = values.min(), values.max()
        places = None
        if not (np.isfinite(low) and np.isfinite(high)):
            self.nans += int(np.isnan(values).sum())
            self.infs += int(np.isinf(values).sum())
            places = np.flatnonzero(np.isfinite(values))
            values = values[places]
            if not values.size:
                return
            low, high = values.min(), values.max()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        self.finite += values.size
        self.zeros += int(np.count_nonzero(values == 0))
        self._add_powers(values)
        self._keep_largest(values, start, places, max(abs(float(low)), abs(float(high))))

    def _add_powers(self, values: Floats) -> None:
        # Into memory of our own and without the linear algebra library, whose threads would wait
        # for each other over sums as short as these.
        n = values.size
        wide, squares, classes = self._wide[:n], self._squares[:n], self._classes[:n]
        np.right_shift(values.view(np.uint32), 16, out=classes, casting="unsafe")
        self.counts += np.bincount(classes, minlength=_CLASSES)
        wide[:] = values
        np.multiply(wide, wide, out=squares)
        third = np.einsum("i,i->", squares, wide)
        self.sums += (wide.sum(), squares.sum(), third, np.einsum("i,i->", squares, squares))

    def _keep_largest(
        self, values: Floats, start: int, places: NDArray[np.int64] | None, size: float
    ) -> None:
        full = len(self.largest) == _OUTLIERS
        if full and size <= abs(self.largest).min():
            return
        sizes = np.abs(values)
        least = abs(self.largest).min() if full else -1.0
        found = np.flatnonzero(sizes > least)
        if found.size > _OUTLIERS:
            found = found[np.argpartition(sizes[found], -_OUTLIERS)[-_OUTLIERS:]]
        at = found if places is None else places[found]
        largest = np.concatenate([self.largest, values[found]])
        where = np.concatenate([self.places, at + start])
        best = np.argsort(-np.abs(largest), kind="stable")[:_OUTLIERS]
        self.largest, self.places = largest[best], where[best]


def measure_tensor(
    tensor: OpenTensor, progress: Callable[[int], None] | None = None
) -> TensorStats:
    """Reads the tensor once; `progress` is told the bytes of each chunk."""
    gathered = _Gathered()
    for start in range(0, tensor.elements, CHUNK):
        count = min(CHUNK, tensor.elements - start)
        gathered.add(tensor.read(start, count), start)
        tensor.release(start, count)
        if progress is not None:
            progress(round(count * tensor.bits / 8))
    return _concluded(gathered, tensor)


def _concluded(gathered: _Gathered, tensor: OpenTensor) -> TensorStats:
    n = max(gathered.finite, 1)
    first, second, third, fourth = gathered.sums / n
    variance = max(second - first * first, 0.0)
    std = float(np.sqrt(variance))
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    # Below this the subtraction above leaves nothing but rounding: all values are one value.
    flat = variance <= 1e-14 * max(second, 1e-300)
    low, high = (gathered.low, gathered.high) if gathered.finite else (0.0, 0.0)
    outliers = tuple(
        Outlier(
            tuple(int(i) for i in np.unravel_index(int(place), tensor.shape or (1,))),
            float(value),
            0.0 if flat else float((value - first) / std),
        )
        for value, place in zip(gathered.largest, gathered.places, strict=True)
    )
    return TensorStats(
        minimum=low,
        maximum=high,
        mean=float(first),
        std=0.0 if flat else std,
        rms=float(np.sqrt(second)),
        kurtosis=0.0 if flat else float(central / variance**2 - 3),
        zeros=gathered.zeros / n,
        nans=gathered.nans,
        infs=gathered.infs,
        outliers=outliers,
        histogram=_histogram(gathered.counts, low, high),
    )


def _class_values() -> NDArray[np.float64]:
    """The middle of each class, ascending from the most negative, NaN and infinite ones at 0."""
    middles = ((np.arange(_CLASSES, dtype=np.uint32) << np.uint32(16)) | np.uint32(0x8000)).view(
        np.float32
    )
    middles[[0, 0x8000]] = 0.0
    return np.where(np.isfinite(middles), middles, 0.0).astype(np.float64)


_VALUES = _class_values()
_ASCENDING = np.argsort(_VALUES, kind="stable")


def _histogram(counts: NDArray[np.int64], low: float, high: float) -> Histogram:
    total = int(counts.sum())
    if total == 0 or low == high:
        return Histogram(low, high, (total,))
    met = _ASCENDING[np.flatnonzero(counts[_ASCENDING])]
    values, found = _VALUES[met], counts[met]
    shares = np.cumsum(found) / total
    first = values[np.searchsorted(shares, _TAIL)]
    last = values[min(int(np.searchsorted(shares, 1 - _TAIL)), len(values) - 1)]
    if not first < last:
        first, last = low, high
    parts = np.clip((values - first) / (last - first) * BINS, 0, BINS - 1).astype(np.int64)
    binned = np.bincount(parts, weights=found, minlength=BINS)
    return Histogram(float(first), float(last), tuple(int(n) for n in binned))
