"""A value too large for float16 harms the tokens that see it, never the ones before."""

from __future__ import annotations

import numpy as np
import pytest

from freehold import ops
from freehold.ops import KvPool, LayerKv, Step, Tensor

WIDTH, TOKENS = 16, 6


def attended(v: np.ndarray) -> np.ndarray:
    q, k, out = (Tensor(TOKENS, WIDTH) for _ in range(3))  # zeros: every key weighs the same
    values = Tensor(TOKENS, WIDTH)
    values.fill(v)
    kv = KvPool([LayerKv(1, WIDTH, WIDTH)], 1)
    step = Step([0] * TOKENS, list(range(TOKENS)), [0, TOKENS], [[0]], [])
    ops.rotate_write(q, k, values, None, step, kv, 0)
    ops.attend(q, kv, 0, step, 1.0, out)
    return out.numpy().copy()


@pytest.mark.parametrize("isa", ops.available_isas())
def test_an_overflowing_value_leaves_earlier_tokens_alone(isa: str) -> None:
    before = ops.isa_name()
    ops.force_isa(isa)
    try:
        plain = np.ones((TOKENS, WIDTH), np.float32)
        large = plain.copy()
        large[5] = 1e6
        assert np.array_equal(attended(large)[:5], attended(plain)[:5])
        assert np.isfinite(attended(large)).all()
        assert attended(large)[5, 0] > 10000.0
    finally:
        ops.force_isa(before)
