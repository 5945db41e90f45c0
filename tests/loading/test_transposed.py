"""Matrices that a checkpoint keeps input first become rows of outputs, in any pieces."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from freehold.loading.sources import is_past
from freehold.loading.transposed import TransposedRows


class Kept:
    """An array of float16 as rows, and which of them were given back."""

    def __init__(self, values: NDArray[np.float16]) -> None:
        self.values = values
        self.name, self.shape, self.n_bytes = "kept", values.shape, values.nbytes
        self.block_type, self.is_view = 1, False
        self.released: list[tuple[int, int]] = []

    def raw(self, start: int, count: int) -> NDArray[np.uint8]:
        rows = self.values.reshape(-1, self.shape[-1])[start : start + count]
        return np.ascontiguousarray(rows).view(np.uint8)

    def release(self, start: int, count: int) -> None:
        self.released.append((start, count))


@pytest.mark.parametrize("shape", [(3, 5, 7), (5, 7)], ids=str)
def test_any_rows_are_those_of_the_transposed_matrices(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.float16).reshape(shape)
    expected = np.ascontiguousarray(values.swapaxes(-1, -2)).reshape(-1, 5)
    rows = TransposedRows(Kept(values))
    assert rows.shape == (*shape[:-2], 7, 5)
    for start in range(len(expected)):
        for count in range(1, len(expected) - start + 1):
            raw = rows.raw(start, count)
            assert np.array_equal(raw.view(np.float16), expected[start : start + count])


def test_pages_are_given_back_when_a_matrix_ends() -> None:
    kept = Kept(np.zeros((3, 5, 7), np.float16))
    rows = TransposedRows(kept)
    for start, count in ((0, 6), (6, 9), (15, 6)):
        rows.release(start, count)
    assert kept.released == [(0, 10), (10, 5)]


def test_layers_after_the_last_are_known_by_their_number() -> None:
    assert is_past("model.layers.4.enorm.weight", 4)
    assert is_past("blk.12.nextn.eh_proj.weight", 4)
    for name in ("model.layers.3.enorm.weight", "blk.0.attn_q.weight", "model.norm.weight"):
        assert not is_past(name, 4)
