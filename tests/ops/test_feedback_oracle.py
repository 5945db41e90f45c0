"""Feedback inside a file's blocks loses no more than GPTQ written down from its paper.

Oracle: algorithm 1 of arXiv 2210.17323 in NumPy and float64, one column at a time. It may round to
the values that the scales of our own block allow, as the gguf package (0.19) reads them, so that
nothing but the feedback is compared. Both minimise the same sum in the same order of columns: where
float32 tips a weight to its other neighbour, either may come out ahead, by far less than 2 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from freehold import ops

Floats = np.ndarray[Any, np.dtype[np.float32]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

ROWS, COLS, TOKENS = 48, 256, 1024
_FOUR_BITS = [0x11 * code for code in range(16)]
_TWO_BITS = [0x55 * code for code in range(4)]
# Where a block keeps its codes, and the bytes that make all of them one code.
CODES: dict[str, list[tuple[slice, list[int]]]] = {
    "Q4_0": [(slice(2, 18), _FOUR_BITS)],
    "Q4_K": [(slice(16, 144), _FOUR_BITS)],
    "Q2_K": [(slice(16, 80), _TWO_BITS)],
    "Q3_K": [(slice(0, 32), [0x00, 0xFF]), (slice(32, 96), _TWO_BITS)],
}


def layer() -> tuple[Floats, Doubles]:
    """Weights (R, C) with a few large columns, and the second moments of correlated inputs."""
    rng = np.random.default_rng(17)
    weights = rng.standard_normal((ROWS, COLS)) * 0.02
    weights[:, rng.choice(COLS, 8, replace=False)] *= 5
    common = rng.standard_normal((TOKENS, 40)) @ rng.standard_normal((40, COLS))
    inputs = (common / 6 + rng.standard_normal((TOKENS, COLS))) * rng.uniform(0.2, 2, COLS)
    return weights.astype(np.float32), inputs.T @ inputs / TOKENS


def output_loss(weights: Floats, found: Floats | Doubles, moments: Doubles) -> float:
    lost = weights.astype(np.float64) - found
    whole = weights.astype(np.float64)
    return float(((lost @ moments) * lost).sum() / ((whole @ moments) * whole).sum())


def read_back(name: str, raw: Bytes) -> Floats:
    return np.asarray(quants.dequantize(raw, GGMLQuantizationType[name]), np.float32)


def grid_of(name: str, raw: Bytes) -> Doubles:
    """Every value that each weight can have in these blocks, (codes, R, C)."""
    size = quants.GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]

    def filled(places: list[tuple[slice, list[int]]]) -> Iterator[Bytes]:
        if not places:
            yield raw.reshape(-1, size).copy()
            return
        (where, patterns), *others = places
        for blocks in filled(others):
            for pattern in patterns:
                blocks[:, where] = pattern
                yield blocks.copy()

    every = [read_back(name, each.reshape(raw.shape)) for each in filled(CODES[name])]
    return np.stack(every).astype(np.float64)


def plain_gptq(weights: Floats, moments: Doubles, grid: Doubles) -> Doubles:
    """Column by column, each one's error made up for by those after it."""
    upper = np.linalg.cholesky(np.linalg.inv(moments)).T
    left, found = weights.astype(np.float64), np.empty(weights.shape)
    for column in range(weights.shape[1]):
        values = grid[:, :, column]
        nearest = np.abs(values - left[:, column]).argmin(axis=0)
        found[:, column] = values[nearest, np.arange(len(weights))]
        error = (left[:, column] - found[:, column]) / upper[column, column]
        left[:, column:] -= error[:, None] * upper[column, column:]
    return found


@pytest.mark.parametrize("name", CODES)
def test_feedback_loses_no_more_than_plain_gptq_and_far_less_than_rounding(
    name: str, isa: str
) -> None:
    weights, moments = layer()
    factor = ops.feedback_factor(moments.astype(np.float32))
    assert factor is not None, "these moments are positive"
    raw = ops.quantize_rows_with_feedback(weights, name, [factor])
    grid = grid_of(name, raw)
    ours = output_loss(weights, read_back(name, raw), moments)
    assert ours <= 1.02 * output_loss(weights, plain_gptq(weights, moments, grid), moments)

    importance = np.ascontiguousarray(moments.diagonal(), np.float32)
    rounded = read_back(name, ops.quantize_rows(weights, name, importance))
    assert ours < 0.7 * output_loss(weights, rounded, moments)
    # To the nearest of the very same values: it is the feedback that gains, not the scales.
    nearest = np.take_along_axis(grid, np.abs(grid - weights).argmin(axis=0)[None], axis=0)[0]
    assert ours < 0.7 * output_loss(weights, nearest, moments)
