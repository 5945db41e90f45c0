"""Rows of floats -> blocks of a type: the one place that calls the core's encoders.

Room: quantize. Must not know files or models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.formats.block_types import BlockType

__all__ = ["Guide", "chunks_of", "encode"]

Floats = NDArray[np.float32]

_CHUNK_BYTES = 64 << 20
_SMALL_CHUNK_BYTES = 4 << 20  # floats and blocks stay in a cache; a guide is readied for each chunk


class Guide(NamedTuple):
    """What is known of a matrix's inputs: how large each is (C,), and where errors can go.

    The factors are `moments.feedback_factors`'; without them errors go nowhere.
    """

    importance: Floats
    factors: Sequence[Floats] = ()


def encode(
    rows: Floats, kind: BlockType, guide: Guide | None, *, threads: int
) -> NDArray[np.uint8]:
    """Rows (R, C) as blocks, (R, bytes of a row)."""
    if guide is None:
        return ops.quantize_rows(rows, kind.name, threads=threads)
    if not guide.factors:
        return ops.quantize_rows(rows, kind.name, guide.importance, threads=threads)
    # Factors say better than the importance what a column's error will have cost in the end.
    return ops.quantize_rows_with_feedback(rows, kind.name, guide.factors, threads=threads)


def chunks_of(rows: int, columns: int, *, guided: bool = True) -> Iterator[tuple[int, int]]:
    """Runs of rows, (start, count), of bounded size as float32."""
    step = max(1, (_CHUNK_BYTES if guided else _SMALL_CHUNK_BYTES) // (4 * columns))
    for start in range(0, rows, step):
        yield start, min(step, rows - start)
