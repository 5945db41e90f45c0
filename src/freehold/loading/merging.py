"""An adapter folded into a model's matrices, row by row, as they are read.

Room: loading. Must not know any family or file format. W (N, D) is read as W + scale B A, float32.
Peak memory: the adapter's matrices, and the rows that are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import BadValue, WrongTask
from freehold.loading.plan import Plan
from freehold.loading.sources import Rows
from freehold.models.adapting import LowRank
from freehold.models.base import Shape

__all__ = ["MergedRows", "merged_plan"]

Floats = NDArray[np.float32]
_F32 = 0


class MergedRows:
    """A tensor of the file with what adapters add to it: `added` are pairs of A, and scale B."""

    is_view = False

    def __init__(self, inner: Rows, added: tuple[tuple[Floats, Floats], ...]) -> None:
        self._inner, self._added = inner, added
        self.name = inner.name
        self.shape: Shape = inner.shape
        self.n_bytes = 4 * int(np.prod(inner.shape, dtype=np.int64))
        self.block_type = _F32

    def raw(self, start: int, count: int) -> NDArray[np.uint8]:
        """Elements of the rows, a copy. Raises: BadValue for what is not finite."""
        columns = self.shape[-1]
        blocks = np.ascontiguousarray(self._inner.raw(start, count)).reshape(-1)
        values = ops.dequantize(self._inner.block_type, blocks, count * columns)
        values = values.reshape(count, columns)
        for lower, upper in self._added:
            values = values + upper[start : start + count] @ lower
        if not np.isfinite(values).all():
            raise BadValue(
                f"{self.name} with the adapter holds numbers that are not finite",
                field=self.name,
                expected="finite numbers",
                hint="the adapter, or the model's file, is damaged",
            )
        return np.ascontiguousarray(values, np.float32).view(np.uint8)

    def release(self, start: int, count: int) -> None:
        """Gives the file's pages of these rows back."""
        self._inner.release(start, count)


def merged_plan(plan: Plan, parts: Mapping[str, LowRank]) -> Plan:
    """The same model, with an adapter's matrices in its own. Raises: WrongTask."""
    added: dict[str, list[tuple[Floats, Floats]]] = defaultdict(list)
    for canonical, part in parts.items():
        for name, upper in _by_piece(plan, canonical, part).items():
            added[name].append((part.lower, upper))
    found = {
        canonical: tuple(
            MergedRows(piece, tuple(added[piece.name])) if piece.name in added else piece
            for piece in pieces
        )
        for canonical, pieces in plan.found.items()
    }
    return replace(plan, found=found)


def _by_piece(plan: Plan, canonical: str, part: LowRank) -> dict[str, Floats]:
    """scale B for the rows of each tensor behind a slot, in the file's own order."""
    source, pieces = plan.sources[canonical], plan.found[canonical]
    if source.transposed or source.turned or not all(len(piece.shape) == 2 for piece in pieces):
        raise WrongTask(
            "an adapter cannot be folded into this matrix yet",
            value=canonical,
            expected="a matrix whose rows are the model's own",
            found="one that lies the other way round",
        )
    upper = np.asarray(part.upper * np.float32(part.scale), np.float32)  # (N, r)
    total = sum(piece.shape[0] for piece in pieces)
    if source.order is not None:
        ours, upper = upper, np.zeros((total, upper.shape[1]), np.float32)
        upper[source.order] = ours
    starts = np.cumsum([0, *(piece.shape[0] for piece in pieces)])
    return {
        piece.name: np.ascontiguousarray(upper[start : start + piece.shape[0]])
        for piece, start in zip(pieces, starts, strict=False)
    }
