"""Encoders of the core's signatures over the gguf package, for the types that it can write."""

from __future__ import annotations

from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize

Array = np.ndarray[Any, Any]
_BLOCK = 32


def quantize_rows(
    weights: Array, type_name: str, importance: Array | None, *, threads: int
) -> Array:
    """Rounds each block by itself; knows no importance."""
    assert weights.dtype == np.float32
    assert weights.flags.c_contiguous
    assert importance is None or importance.shape == weights.shape[1:]
    assert threads >= 1
    return np.asarray(quantize(weights, GGMLQuantizationType[type_name]))


def quantize_rows_with_feedback(
    weights: Array, type_name: str, inverse_factor: Array, importance: Array, *, threads: int
) -> Array:
    """Passes each block's error on to the columns after it."""
    kind, columns = GGMLQuantizationType[type_name], weights.shape[1]
    assert inverse_factor.shape == (columns, columns)
    left, out = weights.copy(), []
    for start in range(0, columns, _BLOCK):
        stop = start + _BLOCK
        blocks = quantize(np.ascontiguousarray(left[:, start:stop]), kind)
        out.append(blocks)
        error = left[:, start:stop] - dequantize(blocks, kind)
        own = inverse_factor[start:stop, start:stop]
        spread = np.linalg.solve(own.T, error.T).T
        left[:, stop:] -= spread @ inverse_factor[start:stop, stop:]
    return np.concatenate(out, axis=1)
