"""Norms of heads and factors of late queries, against their NumPy twins.

| what       | bound, of the value | reason                                                    |
|------------|---------------------|-----------------------------------------------------------|
| norm_heads | (W + 8) 2^-24       | a float32 sum of W squares, a root, two products           |
| scale_late | 2^-23               | a factor rounded to float32, one product                   |
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import Tensor, reference
from freehold.ops.reference import StepArrays
from tests.ops.grid import floats, native, steps, tensor

EPS = 1e-5
LAST = 2.0**-24


def seeded(*what: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


@pytest.mark.parametrize("width", [1, 2, 7, 16, 24, 33, 64, 100, 128, 257])
@pytest.mark.parametrize("heads", [1, 3, 8])
def test_norm_heads_matches_its_twin(isa: str, thread_count: int, width: int, heads: int) -> None:
    """Two tensors at once; a token's bits do not depend on how many are beside it."""
    rng = seeded(width, heads)
    given = [3 * floats(rng, 19, heads * width), 3 * floats(rng, 19, 2 * width)]
    weights = [floats(rng, width), floats(rng, width)]
    parts = [tensor(values) for values in given]
    ops.norm_heads(parts, [tensor(w) for w in weights], EPS, 18)
    for part, values, w in zip(parts, given, weights, strict=True):
        twin = reference.norm_heads(values, w, EPS)
        ours = part.numpy()
        assert (np.abs(ours[:18] - twin[:18]) <= (width + 8) * LAST * np.abs(twin[:18])).all()
        assert np.array_equal(ours[18], values[18]), "wrote past the tokens"
    for count in (1, 2, 9):
        fewer = tensor(given[0])
        ops.norm_heads([fewer], [tensor(weights[0])], EPS, count)
        assert np.array_equal(fewer.numpy()[:count], parts[0].numpy()[:count])


def test_a_norm_as_wide_as_the_row_takes_all_heads_together(isa: str) -> None:
    rng = seeded("wide")
    x, w = floats(rng, 4, 96), floats(rng, 96)
    whole, by_head = tensor(x), tensor(x)
    ops.norm_heads([whole], [tensor(w)], EPS, 4)
    ops.norm_heads([by_head], [tensor(w[:32])], EPS, 4)
    twin = reference.norm_heads(x, w, EPS)
    assert (np.abs(whole.numpy() - twin) <= (96 + 8) * LAST * np.abs(twin)).all()
    assert np.abs(whole.numpy() - by_head.numpy()).max() > 0.01


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_scale_late_matches_its_twin(isa: str, thread_count: int, beta: float) -> None:
    """Up to the trained context nothing changes, bit for bit."""
    rng = seeded("late", beta)
    places = [*range(90, 130), *range(1000, 1003)]
    step = StepArrays([0] * 43, places, [0, 40, 43], [[0] * 3, [0] * 16], [])
    x = floats(rng, 44, 24)
    q = tensor(x)
    ops.scale_late(q, native(step), beta, 100)
    twin = reference.scale_late(x[:43], places, beta, 100)
    assert (np.abs(q.numpy()[:43] - twin) <= 2 * LAST * np.abs(twin)).all()
    assert np.array_equal(q.numpy()[:10], x[:10])
    assert not np.array_equal(q.numpy()[10], x[10])
    assert np.array_equal(q.numpy()[43], x[43]), "wrote past the tokens"
    counted = tensor(x)
    ops.scale_late(counted, native(step), beta, 100, 1)
    assert np.array_equal(counted.numpy()[:9], x[:9])
    assert not np.array_equal(counted.numpy()[9], x[9]), "positions count from 1 here"


def rows(count: int, cols: int) -> Tensor:
    return tensor(np.ones((count, cols), np.float32))


BROKEN: dict[str, Callable[[], None]] = {
    "no tensor": lambda: ops.norm_heads([], [], EPS, 1),
    "a weight short": lambda: ops.norm_heads([rows(2, 8)], [], EPS, 2),
    "a broken head": lambda: ops.norm_heads([rows(2, 8)], [rows(1, 3)], EPS, 2),
    "a weight of two rows": lambda: ops.norm_heads([rows(2, 8)], [rows(2, 8)], EPS, 2),
    "too few rows": lambda: ops.norm_heads([rows(2, 8)], [rows(1, 8)], EPS, 3),
    "a negative count": lambda: ops.norm_heads([rows(2, 8)], [rows(1, 8)], EPS, -1),
    "no trained context": lambda: ops.scale_late(rows(2, 8), native(steps([0, 0])), 0.1, 0),
    "fewer rows than tokens": lambda: ops.scale_late(rows(1, 8), native(steps([0, 0])), 0.1, 9),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_contract_is_refused(name: str) -> None:
    with pytest.raises(ContractBroken):
        BROKEN[name]()
