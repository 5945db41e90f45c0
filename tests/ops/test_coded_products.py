"""Products of whole numbers instead of floats are off by no more than their steps allow.

Oracle: NumPy 2.4 in float64. In a run of rows a column's step is its largest number there over the
largest code; each number is off by half a step at most. What that makes of a product at worst is
computed from the inputs themselves. Usually errors cancel: a thousandth of the diagonals. That is
far below what 4096 tokens leave unknown of a product, a sixty-fourth, and the factor leaves out
more than half of all products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freehold import ops

Floats = np.ndarray[Any, np.dtype[np.float32]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]

# Rows of a run, and the largest code: bytes where they are exact, else what fits 32 bits.
STEPS = {"generic": (512, 127), "avx2": (256, 2894), "avx512": (512, 127)}
# Less than a panel, panels, squares and runs with and without a rest.
COUNTS = (1, 5, 32, 97, 288, 300, 401)


def some_inputs(rows: int, cols: int) -> Floats:
    """Columns that have something in common, of very different size, some numbers far out."""
    rng = np.random.default_rng(rows + cols)
    shared = rng.standard_normal((rows, 1)) * rng.standard_normal((1, cols))
    wild = rng.standard_t(3, (rows, cols))
    return ((shared + wild) * 10.0 ** rng.uniform(-3, 3, cols)).astype(np.float32)


def means(x: Floats) -> tuple[Doubles, Doubles]:
    """The mean products, and by how much each may be off for its steps."""
    rows, levels = STEPS[ops.isa_name()]
    wide, most = x.astype(np.float64), np.zeros((x.shape[1], x.shape[1]))
    for first in range(0, len(x), rows):
        run = np.abs(wide[first : first + rows])
        half = run.max(axis=0) / levels / 2
        one = np.outer(run.sum(axis=0), half)
        most += one + one.T + len(run) * np.outer(half, half)
    return wide.T @ wide / len(x), most / len(x)


def usual(products: Doubles) -> Doubles:
    """What products could be at most."""
    return np.asarray(np.sqrt(np.outer(products.diagonal(), products.diagonal())))


def some_matrix(cols: int) -> Floats:
    """Products as the damping leaves them: less than half of each, and all of the diagonal."""
    x = some_inputs(2 * cols, cols)
    matrix = 0.45 * (x.astype(np.float64).T @ x)
    matrix[np.diag_indices(cols)] /= 0.45
    scale = 1 / np.sqrt(matrix.diagonal())
    return (matrix * np.outer(scale, scale)).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 3, 256, 700, 1500])
@pytest.mark.parametrize("cols", COUNTS)
def test_products_are_off_by_half_a_step_at_most(
    rows: int, cols: int, isa: str, thread_count: int
) -> None:
    x = some_inputs(rows, cols)
    found, (expected, most) = np.tril(ops.mean_products(x)), means(x)
    allowed = most + 1e-5 * usual(expected)  # what floats lose in scaling and adding
    assert (np.abs(found - np.tril(expected)) <= allowed).all()
    np.testing.assert_allclose(found.diagonal(), expected.diagonal(), rtol=1e-5)


def test_errors_of_many_rows_cancel(isa: str) -> None:
    x = some_inputs(4096, 120)
    found, (expected, _) = np.tril(ops.mean_products(x)), means(x)
    off = np.abs(found - np.tril(expected)) / usual(expected)
    assert off.max() < 0.006
    assert np.sqrt((off**2).mean()) < 0.001


def test_more_rows_than_are_held_at_once(isa: str) -> None:
    x = some_inputs(20, 9)[np.arange(9000) % 20]
    found, (expected, most) = np.tril(ops.mean_products(x)), means(x)
    assert (np.abs(found - np.tril(expected)) <= most + 1e-5 * usual(expected)).all()


def test_a_column_of_zeros_has_no_products(isa: str) -> None:
    x = some_inputs(300, 40)
    x[:, 7] = 0
    found = np.tril(ops.mean_products(x))
    assert not found[7].any()
    assert not found[:, 7].any()


@pytest.mark.parametrize("cols", [1, 97, 192, 193, 400, 577])
def test_a_coded_factor_is_nearly_the_exact_one(cols: int, isa: str, thread_count: int) -> None:
    matrix = some_matrix(cols)
    found = ops.feedback_factor(matrix, coded=True)
    assert found is not None
    assert not np.triu(found, 1).any()
    product = found.astype(np.float64).T @ found
    np.testing.assert_allclose(product, matrix, atol=0.004)  # of a diagonal of ones


def test_damping_is_part_of_coded_factoring(isa: str) -> None:
    matrix = some_matrix(300)
    damped = matrix * np.float32(0.75)
    damped[np.diag_indices(300)] = matrix.diagonal() + np.float32(0.5)
    expected = ops.feedback_factor(damped, coded=True)
    np.testing.assert_array_equal(ops.feedback_factor(matrix, 0.75, 0.5, coded=True), expected)


def test_inputs_that_are_no_numbers_have_no_factor(isa: str) -> None:
    x = some_inputs(300, 40)
    x[17, 3] = np.nan
    assert ops.feedback_factor(ops.mean_products(x), 0.5, 1.0) is None


def test_feedback_by_codes_loses_no_more_than_by_floats(isa: str) -> None:
    """Within a hundredth, however many weights were tipped to their other neighbour."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1024, 60)) @ rng.standard_normal((60, 512)) / 8
    inputs = (x + rng.standard_normal(x.shape)).astype(np.float32)
    weights = (rng.standard_normal((96, 512)) * 0.02).astype(np.float32)
    exact = means(inputs)[0].astype(np.float32)
    loss = []
    for products, coded in ((exact, False), (ops.mean_products(inputs), True)):
        factor = ops.feedback_factor(products, 0.45, 0.05, coded=coded)
        assert factor is not None
        raw = ops.quantize_rows_with_feedback(weights, "Q4_0", [factor])
        back = ops.dequantize(2, raw.reshape(-1), weights.size).reshape(weights.shape)
        lost = back.astype(np.float64) - weights
        loss.append(float(((lost @ exact) * lost).sum()))
    assert loss[1] < 1.01 * loss[0]


def test_spare_memory_is_reused_and_given_back() -> None:
    x = some_inputs(64, 1500)
    first = np.tril(ops.mean_products(x))
    for keep in (True, True, False):
        ops.keep_spare_memory(keep)
        np.testing.assert_array_equal(np.tril(ops.mean_products(x)), first)
