"""Rows of a file -> parameters in memory: packed matrices, and float32 rows.

Room: loading. Must not know any family or file format.
Peak memory: the packed weights, plus one chunk of the file: pages are given back as they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import BadValue, UnsupportedType
from freehold.loading.sources import Rows, Source
from freehold.models.base import Parameter, Slot
from freehold.ops import Tensor, Weight

__all__ = ["can_stay", "read_parameter"]

_CHUNK_BYTES = 16 << 20
_F32 = 0
# Values that were read from a float type, as that type again: nothing is rounded.
_EXACT: dict[int, Callable[[NDArray[np.float32]], NDArray[np.generic]]] = {
    _F32: lambda values: values,
    1: lambda values: values.astype(np.float16),
    30: lambda values: (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16),
}


def can_stay(pieces: Sequence[Rows], slot: Slot, source: Source) -> bool:
    """Whether this is a matrix of floats whose rows can be used where the file has them."""
    whole = source.order is None or len(pieces) == 1
    if not slot.matrix or source.turned or not whole:
        return False
    return all(piece.is_view and piece.block_type in _EXACT for piece in pieces)


def read_parameter(
    pieces: Sequence[Rows], slot: Slot, source: Source, *, in_place: bool = False
) -> Parameter:
    """Packs or unpacks what the source names; with `in_place` only what cannot stay there.

    Raises: UnsupportedType, BadValue.
    """
    _check_one_type(pieces)
    if not slot.matrix:
        return _read_rows(pieces, slot, source)
    if source.turned:
        return _turn(pieces, slot, source)
    rows, cols = slot.shape
    assert source.add == 0.0, "only rows of floats can be added to"
    if in_place and can_stay(pieces, slot, source):
        weight = Weight(pieces[0].block_type, rows, cols, in_place=True)
        _keep(weight, pieces, source.order)
        return weight
    weight = Weight(pieces[0].block_type, rows, cols)
    if source.order is not None:
        _pack_ordered(weight, pieces, source.order)
    elif len(pieces) > 1 and rows // len(pieces) % ops.GROUP_ROWS:
        weight.pack(0, rows, np.concatenate([_whole(piece) for piece in pieces]).reshape(-1))
    else:
        for index, piece in enumerate(pieces):
            _pack_piece(weight, piece, index * (rows // len(pieces)))
    return weight


def _keep(weight: Weight, pieces: Sequence[Rows], order: NDArray[np.int64] | None) -> None:
    at = 0
    for piece in pieces:
        count = _row_count(piece) if order is None else len(order)
        rows = None if order is None else order.astype(np.int32)
        weight.keep(at, count, _whole(piece).reshape(-1), rows)
        at += count


def _pack_piece(weight: Weight, piece: Rows, at: int) -> None:
    count = _row_count(piece)
    step = _chunk_rows(piece)
    for start in range(0, count, step):
        some = min(step, count - start)
        weight.pack(at + start, some, piece.raw(start, some).reshape(-1))
        piece.release(start, some)


def _pack_ordered(weight: Weight, pieces: Sequence[Rows], order: NDArray[np.int64]) -> None:
    whole = None if len(pieces) == 1 else np.concatenate([_whole(piece) for piece in pieces])
    step = _chunk_rows(pieces[0])
    for start in range(0, weight.rows, step):
        at = order[start : start + step]
        first = 0 if whole is not None else int(at.min())
        among = whole if whole is not None else pieces[0].raw(first, int(at.max()) + 1 - first)
        weight.pack(start, len(at), among[at - first].reshape(-1))
    for piece in pieces:
        piece.release(0, _row_count(piece))


def _turn(pieces: Sequence[Rows], slot: Slot, source: Source) -> Weight:
    """Stacked matrices the other way round; blocks, which run along rows, become their values."""
    kind = pieces[0].block_type
    values = np.concatenate([_floats(piece) for piece in pieces])  # (rows, cols)
    values = values if source.order is None else values[source.order]
    turned = values.reshape(source.turned, -1, values.shape[1]).swapaxes(1, 2)
    rows, cols = slot.shape
    weight = Weight(kind if kind in _EXACT else _F32, rows, cols)
    raw = _EXACT.get(kind, _EXACT[_F32])(np.ascontiguousarray(turned).reshape(rows, cols))
    weight.pack(0, rows, raw.reshape(-1).view(np.uint8))
    return weight


def _read_rows(pieces: Sequence[Rows], slot: Slot, source: Source) -> Tensor:
    rows, cols = slot.shape if len(slot.shape) == 2 else (1, slot.shape[0])
    values = np.concatenate([_floats(piece) for piece in pieces])
    if source.order is not None:
        by_rows = len(slot.shape) == 2 and len(source.order) == rows
        values = values[source.order] if by_rows else values.reshape(-1)[source.order]
    tensor = Tensor(rows, cols)
    tensor.fill(np.ascontiguousarray(values.reshape(rows, cols) + np.float32(source.add)))
    return tensor


def _floats(piece: Rows) -> NDArray[np.float32]:
    """The piece's values, (rows, cols) or, of one dim, (1, n)."""
    cols = piece.shape[-1]
    raw = np.ascontiguousarray(_whole(piece))
    values = np.concatenate([ops.dequantize(piece.block_type, row, cols) for row in raw])
    piece.release(0, len(raw))
    if not np.isfinite(values).all():
        raise BadValue(
            f"{piece.name} holds numbers that are not finite",
            field=piece.name,
            expected="finite numbers",
            hint="the file is damaged",
        )
    return values.reshape(-1, cols)


def _whole(piece: Rows) -> NDArray[np.uint8]:
    return piece.raw(0, _row_count(piece))


def _row_count(piece: Rows) -> int:
    return int(np.prod(piece.shape[:-1], dtype=np.int64))


def _chunk_rows(piece: Rows) -> int:
    row_bytes = max(1, piece.n_bytes // _row_count(piece))
    return max(ops.GROUP_ROWS, _CHUNK_BYTES // row_bytes // ops.GROUP_ROWS * ops.GROUP_ROWS)


def _check_one_type(pieces: Sequence[Rows]) -> None:
    for piece in pieces[1:]:
        if piece.block_type != pieces[0].block_type:
            raise UnsupportedType(
                f"{piece.name} has another type than its neighbours",
                field=piece.name,
                expected=f"the type of {pieces[0].name}, {pieces[0].block_type}",
                found=str(piece.block_type),
            )
