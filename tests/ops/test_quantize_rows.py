"""Quantized rows read back as what they were, and lose less than the reference quantizers do.

Oracle: the gguf package (0.19), its dequantisation bit for bit and its own `quantize` for the types
that it writes. A row's result is its own, so tests compare bytes across threads and neighbours.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from freehold import ops
from freehold.errors import ContractBroken
from freehold.formats.block_types import BlockType
from tests.parity.blocks import random_blocks

Floats = np.ndarray[Any, np.dtype[np.float32]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

BLOCKS = (
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
    "MXFP4",
)  # fmt: skip
FLOATS = ("F16", "BF16")
WRITTEN_BY_GGUF = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4")
# What is left of a normal weight's variance, at most: a little above what each type reaches.
LOSS = {
    "Q2_K": 0.075, "Q3_K": 0.0225, "Q4_0": 0.0085, "Q4_1": 0.0062, "IQ4_NL": 0.0065, "Q4_K": 0.0055,
    "MXFP4": 0.014, "Q5_0": 0.0021, "Q5_1": 0.0016, "Q5_K": 0.0014, "Q6_K": 0.0005, "Q8_0": 3e-5,
    "F16": 1e-7, "BF16": 4e-6,
}  # fmt: skip


def read_back(name: str, raw: Bytes) -> Floats:
    return np.asarray(quants.dequantize(raw, GGMLQuantizationType[name]), np.float32)


def normal(rows: int, cols: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32) * 0.02


def some_importance(cols: int) -> Floats:
    return np.exp(2 * np.random.default_rng(9).standard_normal(cols)).astype(np.float32)


@cache
def some_factor(cols: int) -> tuple[Floats, Floats]:
    """A Hessian of correlated inputs, and the lower L whose L^T L it is."""
    rng = np.random.default_rng(3)
    mix = rng.standard_normal((cols, cols)) * np.exp(-np.arange(cols) / 40)[:, None]
    inputs = rng.standard_normal((4 * cols, cols)) @ mix + rng.standard_normal((4 * cols, cols))
    hessian = inputs.T @ inputs / len(inputs)
    lower = np.linalg.cholesky(hessian[::-1, ::-1]).T[::-1, ::-1]
    return hessian.astype(np.float32), np.ascontiguousarray(lower, np.float32)


def loss(weights: Floats, found: Floats, counts: Floats | float = 1.0) -> float:
    lost = weights.astype(np.float64) - found
    return float((lost**2 * counts).sum() / (weights.astype(np.float64) ** 2 * counts).sum())


@pytest.mark.parametrize("name", BLOCKS + FLOATS)
@pytest.mark.parametrize("rows", [1, 9, 33])
def test_rows_read_back_close_to_what_they_were(name: str, rows: int, isa: str) -> None:
    weights = normal(rows, 512)
    raw = ops.quantize_rows(weights, name)
    assert raw.shape == (rows, 512 // BlockType[name].block_elements * BlockType[name].block_bytes)
    assert loss(weights, read_back(name, raw)) < LOSS[name] * (1.15 if rows == 1 else 1.0)


@pytest.mark.parametrize("name", BLOCKS + FLOATS)
def test_our_own_reader_gives_the_same_bits(name: str) -> None:
    raw = ops.quantize_rows(normal(5, 512), name)
    ours = ops.dequantize(int(BlockType[name]), raw.reshape(-1), 5 * 512)
    np.testing.assert_array_equal(np.asarray(ours).reshape(5, 512), read_back(name, raw))


@pytest.mark.parametrize("name", WRITTEN_BY_GGUF)
def test_loses_less_than_the_gguf_package(name: str) -> None:
    weights = normal(64, 512, seed=4)
    ones = np.ones(512, np.float32)
    ours = loss(weights, read_back(name, ops.quantize_rows(weights, name, ones)))
    kind = GGMLQuantizationType[name]
    theirs = loss(weights, quants.dequantize(quants.quantize(weights, kind), kind))
    assert ours < theirs


@pytest.mark.parametrize("name", BLOCKS)
def test_importance_moves_the_loss_to_columns_that_count_less(name: str) -> None:
    weights, counts = normal(64, 512, seed=5), some_importance(512)
    with_it = loss(weights, read_back(name, ops.quantize_rows(weights, name, counts)), counts)
    without = loss(weights, read_back(name, ops.quantize_rows(weights, name)), counts)
    assert with_it < without


@pytest.mark.parametrize("name", BLOCKS)
def test_feedback_lowers_the_loss_of_the_outputs(name: str, isa: str) -> None:
    weights = normal(53, 512, seed=6)
    hessian, lower = some_factor(512)

    def output_loss(raw: Bytes) -> float:
        lost = (weights - read_back(name, raw)).astype(np.float64)
        return float(((lost @ hessian) * lost).sum())

    counts = np.ascontiguousarray(np.diag(hessian))
    with_it = output_loss(ops.quantize_rows_with_feedback(weights, name, [lower]))
    assert with_it < 0.9 * output_loss(ops.quantize_rows(weights, name, counts))


@pytest.mark.parametrize("name", BLOCKS)
def test_without_correlation_feedback_changes_nothing_but_the_search(name: str) -> None:
    weights = normal(16, 512, seed=7)
    eye = np.eye(512, dtype=np.float32)
    fed = loss(weights, read_back(name, ops.quantize_rows_with_feedback(weights, name, [eye])))
    ones = np.ones(512, np.float32)
    alone = loss(weights, read_back(name, ops.quantize_rows(weights, name, ones)))
    assert fed < 1.02 * alone


@pytest.mark.parametrize("name", BLOCKS + FLOATS)
def test_bytes_depend_on_the_row_alone(name: str) -> None:
    weights, counts = normal(41, 256, seed=8), some_importance(256)
    _, lower = some_factor(256)
    whole = ops.quantize_rows(weights, name, counts, threads=2)
    np.testing.assert_array_equal(whole, ops.quantize_rows(weights, name, counts, threads=1))
    part = ops.quantize_rows(np.ascontiguousarray(weights[17:23]), name, counts)
    np.testing.assert_array_equal(whole[17:23], part)
    if name in BLOCKS:
        fed = ops.quantize_rows_with_feedback(weights, name, [lower], threads=2)
        some = np.ascontiguousarray(weights[17:23])
        part = ops.quantize_rows_with_feedback(some, name, [lower])
        np.testing.assert_array_equal(fed[17:23], part)


@pytest.mark.parametrize("name", BLOCKS)
def test_errors_stay_in_their_run_of_columns(name: str, isa: str) -> None:
    weights, lowers = normal(53, 768, seed=9), [some_factor(256)[1], some_factor(512)[1]]
    both = read_back(name, ops.quantize_rows_with_feedback(weights, name, lowers))
    weights[:, :256] = np.abs(weights[:, :256]).max() * 0.1
    changed = read_back(name, ops.quantize_rows_with_feedback(weights, name, lowers))
    assert (both[:, :256] != changed[:, :256]).any()
    np.testing.assert_array_equal(both[:, 256:], changed[:, 256:])


@pytest.mark.parametrize("name", BLOCKS + FLOATS)
def test_zeros_stay_zero(name: str) -> None:
    weights = np.zeros((3, 256), np.float32)
    weights[1] = normal(1, 256)
    found = read_back(name, ops.quantize_rows(weights, name))
    assert not found[[0, 2]].any()
    assert found[1].any()


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("value", [0.03, -0.7, 60000.0, -60000.0])
def test_a_constant_row_is_nearly_exact(name: str, value: float) -> None:
    weights = np.full((2, 256), value, np.float32)
    found = read_back(name, ops.quantize_rows(weights, name))
    np.testing.assert_allclose(found, weights, rtol=0.13 if name == "MXFP4" else 0.002)


@pytest.mark.parametrize("name", BLOCKS + FLOATS)
@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e-8, 1e-3, 65504.0])
def test_any_size_of_number_stays_finite(name: str, size: float) -> None:
    weights = normal(4, 256)
    weights *= size / np.abs(weights).max()
    weights = np.minimum(np.maximum(weights, -65504.0), 65504.0).astype(np.float32)
    _, lower = some_factor(256)
    found = [ops.quantize_rows(weights, name)]
    found += [ops.quantize_rows_with_feedback(weights, name, [lower])] if name in BLOCKS else []
    for raw in found:
        values = read_back(name, raw)
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= 1.5 * size + 1e-7


@pytest.mark.parametrize("name", BLOCKS)
def test_columns_without_importance_are_still_written(name: str) -> None:
    weights, counts = normal(8, 512), some_importance(512)
    counts[:256] = 0
    found = read_back(name, ops.quantize_rows(weights, name, counts))
    assert loss(weights[:, :256], found[:, :256]) < 1.2 * LOSS[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_any_block_that_was_read_is_written_again(name: str) -> None:
    """A weight that a type holds exactly comes back nearly as it was, from any codes and scales."""
    elements = BlockType[name].block_elements
    raw = random_blocks(np.random.default_rng(1), name, 4096 // elements).reshape(8, -1)
    weights = read_back(name, raw)
    found = read_back(name, ops.quantize_rows(weights, name))
    assert loss(weights, found) < 0.5 * LOSS[name]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["Q4_K", "Q8_0", "F16", "BF16", "MXFP4"])
def test_a_weight_that_is_no_number_is_refused(name: str, bad: float) -> None:
    weights = normal(3, 256)
    weights[2, 255] = bad
    with pytest.raises(ContractBroken, match="infinite or not a number"):
        ops.quantize_rows(weights, name)


@pytest.mark.parametrize(
    ("name", "rows", "cols", "importance", "says"),
    [
        ("Q4_K", 2, 288, None, "whole blocks of 256"),
        ("Q4_0", 2, 40, None, "whole blocks of 32"),
        ("Q9_K", 2, 256, None, "nothing is written in Q9_K"),
        ("IQ4_XS", 2, 256, None, "nothing is written in IQ4_XS"),
        ("Q4_0", 2, 64, np.ones(32, np.float32), "one importance is needed"),
        ("Q4_0", 2, 64, np.full(64, -1, np.float32), "finite and not negative"),
        ("Q4_0", 2, 64, np.full(64, np.nan, np.float32), "finite and not negative"),
    ],
)
def test_a_broken_contract_is_named(
    name: str, rows: int, cols: int, importance: Floats | None, says: str
) -> None:
    with pytest.raises(ContractBroken, match=says):
        ops.quantize_rows(normal(rows, cols), name, importance)


def test_numbers_beyond_float16_are_refused() -> None:
    weights = np.full((1, 256), 70000, np.float32)
    with pytest.raises(ContractBroken, match="beyond what a float16 scale reaches"):
        ops.quantize_rows(weights, "Q4_K")


def test_feedback_refuses_a_factor_that_is_none() -> None:
    weights, factor = normal(2, 64), np.eye(64, dtype=np.float32)
    factor[5, 5] = 0
    with pytest.raises(ContractBroken, match="diagonal must be above zero"):
        ops.quantize_rows_with_feedback(weights, "Q4_0", [factor])
    eye, half = np.eye(64, dtype=np.float32), np.eye(32, dtype=np.float32)
    for factors, says in (
        ([half], "not the matrix's"),
        ([eye, half], "not the matrix's"),
        ([eye[:16, :16].copy(), eye[:48, :48].copy()], "whole blocks"),
        ([eye[:32].copy()], "must be square"),
        ([], "a factor is needed"),
    ):
        with pytest.raises(ContractBroken, match=says):
            ops.quantize_rows_with_feedback(weights, "Q4_0", factors)
    with pytest.raises(ContractBroken, match="not rounded in blocks"):
        ops.quantize_rows_with_feedback(weights, "F16", [eye])


def test_what_can_be_written_is_known_by_name() -> None:
    assert all(ops.can_quantize_to(name) for name in BLOCKS + FLOATS)
    assert not any(ops.can_quantize_to(name) for name in ("F32", "IQ4_XS", "IQ2_XXS", "Nvfp4", ""))
