"""Matrices of floats that a checkpoint keeps input first, as rows of outputs.

Room: loading. Must not know any family or file format.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from freehold.loading.sources import Rows
from freehold.models.base import Shape

__all__ = ["TransposedRows"]


class TransposedRows:
    """Rows (X, out, in) of matrices kept as (X, in, out)."""

    is_view = False

    def __init__(self, inner: Rows) -> None:
        self._inner = inner
        *lead, self._cols, self._rows = (1, *inner.shape) if len(inner.shape) == 1 else inner.shape
        self._count = int(np.prod(lead, dtype=np.int64))
        self.name = inner.name
        self.shape: Shape = (*lead, self._rows, self._cols)
        self.n_bytes = inner.n_bytes

    @property
    def block_type(self) -> int:
        """The core's number of the type that `raw` gives."""
        return self._inner.block_type

    def raw(self, start: int, count: int) -> NDArray[np.uint8]:
        """Elements of `count` rows from `start`, a copy."""
        size = self.n_bytes // max(1, self._count * self._cols * self._rows)
        out = np.empty((count, self._cols * size), np.uint8)
        done = 0
        while done < count:
            which, row = divmod(start + done, self._rows)
            some = min(count - done, self._rows - row)
            whole = self._inner.raw(which * self._cols, self._cols)
            part = whole.reshape(self._cols, self._rows, size)[:, row : row + some]
            out[done : done + some] = part.swapaxes(0, 1).reshape(some, -1)
            done += some
        return out

    def release(self, start: int, count: int) -> None:
        """Gives the file's pages of the matrices that end within these rows back."""
        first, last = (start // self._rows, (start + count) // self._rows)
        if last > first:
            self._inner.release(first * self._cols, (last - first) * self._cols)
