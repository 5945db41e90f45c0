"""The factor of inputs' products is what linear algebra says; of the products, see coded products.

Oracle: NumPy 2.4 in float64. A factor is as exact as the matrix is well conditioned, and these have
conditions of about a hundred.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.quantize.moments import Moments, feedback_factors, moments_of

Floats = np.ndarray[Any, np.dtype[np.float32]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]

# One column, less than a panel, panels and strips with and without a rest, several depths of rows.
COUNTS = (1, 5, 16, 95, 96, 97, 300)


def some_inputs(rows: int, cols: int) -> Floats:
    rng = np.random.default_rng(rows + cols)
    shared = rng.standard_normal((rows, 1)) * rng.standard_normal((1, cols))
    return (shared + rng.standard_normal((rows, cols))).astype(np.float32)


def moments_in_doubles(x: Floats) -> Floats:
    wide = x.astype(np.float64)
    return np.asarray(wide.T @ wide / len(x), np.float32)


def twin_of_factor(matrix: Floats) -> Doubles:
    """Lower, and its transpose times itself the matrix."""
    turned = np.linalg.cholesky(matrix[::-1, ::-1].astype(np.float64))
    return np.asarray(turned.T[::-1, ::-1], np.float64)


def some_matrix(cols: int) -> Floats:
    moments = moments_in_doubles(some_inputs(2 * cols, cols))
    moments[np.diag_indices(cols)] += 0.2
    return moments


@pytest.mark.parametrize("cols", COUNTS)
def test_matches_twin_factor(cols: int, isa: str, thread_count: int) -> None:
    matrix = some_matrix(cols)
    found = ops.feedback_factor(matrix)
    assert found is not None
    expected = twin_of_factor(matrix)
    np.testing.assert_allclose(found, expected, atol=2e-5 * float(expected.max()))
    assert not np.triu(found, 1).any()


def test_damping_is_part_of_factoring() -> None:
    matrix = some_matrix(130)
    damped = matrix * np.float32(0.75)
    damped[np.diag_indices(130)] = matrix.diagonal() + np.float32(0.5)
    expected = ops.feedback_factor(damped)
    np.testing.assert_array_equal(ops.feedback_factor(matrix, 0.75, 0.5), expected)


def test_only_the_lower_triangle_is_looked_at() -> None:
    matrix = some_matrix(130)
    found = ops.feedback_factor(matrix)
    expected = ops.feedback_factor(np.tril(matrix) + np.triu(np.full_like(matrix, np.nan), 1))
    np.testing.assert_array_equal(found, expected)


def test_threads_change_nothing() -> None:
    x, matrix, before = some_inputs(1200, 500), some_matrix(500), ops.threads()
    found = []
    for count in (1, 2):
        ops.set_threads(count)
        factors = [ops.feedback_factor(matrix, coded=coded) for coded in (False, True)]
        found.append([np.tril(ops.mean_products(x)), *factors])
    ops.set_threads(before)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("place", [0, 150, 399])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_a_matrix_that_is_not_positive_has_no_factor(place: int, value: float, coded: bool) -> None:
    matrix = some_matrix(400)
    matrix[place, place] = value
    assert ops.feedback_factor(matrix, coded=coded) is None


def test_what_is_no_square_is_refused() -> None:
    with pytest.raises(ContractBroken, match="not square"):
        ops.feedback_factor(np.ones((3, 4), np.float32))
    with pytest.raises(ContractBroken, match="at least one row"):
        ops.mean_products(np.ones((0, 4), np.float32))


def test_few_tokens_are_trusted_less() -> None:
    """What columns have in common counts for the less, the fewer tokens there were."""
    products = moments_in_doubles(some_inputs(400, 64))
    squares = np.ascontiguousarray(products.diagonal())
    shared = []
    for tokens in (64, 4096):
        (factor,) = feedback_factors(Moments(squares, [products], tokens))
        shared.append(float(np.abs(np.tril(factor / factor.diagonal()[:, None], -1)).mean()))
    assert shared[0] < 0.8 * shared[1]


def test_inputs_that_never_vary_still_have_a_factor() -> None:
    found = moments_of(np.ones((50, 40), np.float32), products=True)
    assert all(np.isfinite(factor).all() for factor in feedback_factors(found))


def test_moments_without_products_are_squares_alone() -> None:
    x = some_inputs(50, 40)
    found = moments_of(x, products=False)
    assert not found.products
    np.testing.assert_allclose(found.squares, (x.astype(np.float64) ** 2).mean(axis=0), rtol=1e-5)


def test_many_columns_are_taken_in_runs_of_whole_blocks() -> None:
    x = some_inputs(40, 4864)
    found = moments_of(x, products=True)
    assert [len(each) for each in found.products] == [2304, 2560]
    for start, products in zip((0, 2304), found.products, strict=True):
        alone = ops.mean_products(np.ascontiguousarray(x[:, start : start + len(products)]))
        np.testing.assert_array_equal(np.tril(products), np.tril(alone))
    np.testing.assert_allclose(found.squares, (x.astype(np.float64) ** 2).mean(axis=0), rtol=1e-5)
