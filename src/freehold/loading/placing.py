"""A planned model's values as they would lie in another form of file.

Room: loading. Must not know any family or file format: tables say where everything lies.
Peak memory: the rows that are read, and small tensors whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.loading.plan import Plan
from freehold.loading.sources import Rows, Source
from freehold.models.base import Shape

__all__ = ["Placed", "placed", "unpacked"]

Floats = NDArray[np.float32]

_Order = NDArray[np.int64] | None  # None leaves rows as they are


@dataclass(frozen=True)
class Placed:
    """A tensor of the other form; `rows(start, count)` gives (count, columns)."""

    name: str
    shape: Shape
    matrix: bool
    rows: Callable[[int, int], Floats]

    @property
    def row_count(self) -> int:
        """How many rows there are, of all leading dims."""
        return int(np.prod(self.shape[:-1], dtype=np.int64))


def placed(plan: Plan, canonical: str, place: Source) -> list[Placed]:
    """The tensors that `place` has for a slot, of which there are as many as it names."""
    slot, own, pieces = plan.slots[canonical], plan.sources[canonical], plan.found[canonical]
    shape = place.piece_shape(slot)
    order = _order(own.order, place.order)
    take: Callable[[int, int], Floats] = partial(_rows, pieces, order)
    if not slot.matrix:
        values = take(0, _row_count(pieces)).reshape(shape) + np.float32(own.add - place.add)
        kept = np.ascontiguousarray(values, np.float32).reshape(-1, shape[-1])
        take = partial(_of_array, kept)
    each = int(np.prod(shape[:-1], dtype=np.int64))
    return [
        Placed(name, shape, slot.matrix, partial(_from, take, index * each))
        for index, name in enumerate(place.names)
    ]


def _from(take: Callable[[int, int], Floats], first: int, start: int, count: int) -> Floats:
    return take(first + start, count)


def _of_array(values: Floats, start: int, count: int) -> Floats:
    return values[start : start + count]


def _order(own: _Order, new: _Order) -> _Order:
    """For each row of the other form the row that we read."""
    if new is None:
        return own
    inverse = np.empty_like(new)
    inverse[new] = np.arange(len(new))
    return inverse if own is None else own[inverse]


def _rows(pieces: Sequence[Rows], order: _Order, start: int, count: int) -> Floats:
    """Rows of the stacked pieces, in order, as floats."""
    each = _row_count(pieces[:1])
    columns = pieces[0].shape[-1]
    wanted = np.arange(start, start + count) if order is None else order[start : start + count]
    out = np.empty((count, columns), np.float32)
    for index in np.unique(wanted // each):
        piece, mine = pieces[index], wanted // each == index
        at = wanted[mine] - index * each
        first, last = int(at.min()), int(at.max()) + 1
        out[mine] = unpacked(piece, first, last - first)[at - first]
    return out


def unpacked(piece: Rows, start: int, count: int) -> Floats:
    """Rows of one tensor as floats, (count, columns); their pages are given back."""
    columns = piece.shape[-1]
    raw = np.ascontiguousarray(piece.raw(start, count)).reshape(-1)
    values = ops.dequantize(piece.block_type, raw, count * columns)
    piece.release(start, count)
    return values.reshape(count, columns)


def _row_count(pieces: Sequence[Rows]) -> int:
    return sum(int(np.prod(piece.shape[:-1], dtype=np.int64)) for piece in pieces)
