"""Drawing tokens and masking logits, against their twins, on every instruction set.

The twin weighs in float64, the op in float32: a uniform number within 1e-4 of an edge between two
tokens is moved, and nothing else may differ.
"""

from __future__ import annotations

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import reference
from freehold.ops.reference import Draw

DRAWS = [
    Draw(),
    Draw(temperature=1.0),
    Draw(temperature=0.2),
    Draw(temperature=5.0),
    Draw(temperature=1.0, top_k=1),
    Draw(temperature=1.5, top_k=40),
    Draw(temperature=3.0, top_k=3000),
    Draw(temperature=1.0, top_p=0.9),
    Draw(temperature=4.0, top_p=0.999),
    Draw(temperature=1.0, top_p=1e-9),
    Draw(temperature=1.0, min_p=0.05),
    Draw(temperature=2.0, top_k=40, top_p=0.8, min_p=0.02),
]


def drawn(logits: np.ndarray, draws: list[Draw]) -> list[int]:
    columns = [[getattr(draw, name) for draw in draws] for name in Draw._fields]
    return ops.sample(np.ascontiguousarray(logits), *columns)


@pytest.mark.parametrize("size", [1, 7, 31, 1024, 4099])
@pytest.mark.parametrize("draw", DRAWS, ids=str)
def test_draws_as_the_twin_does(isa: str, draw: Draw, size: int) -> None:
    rng = np.random.default_rng(size)
    wrong = 0
    for start in range(0, 40, 8):
        logits = rng.normal(0, 4, (8, size)).astype(np.float32)
        logits[:, : size // 3] = -np.inf if start == 8 else logits[:, : size // 3]
        draws = [draw._replace(uniform=float(u)) for u in rng.random(8)]
        for row, one, token in zip(logits, draws, drawn(logits, draws), strict=True):
            near = {
                reference.sample(row, one._replace(uniform=min(max(one.uniform + d, 0), 0.999999)))
                for d in (-1e-4, 0.0, 1e-4)
            }
            wrong += token not in near
            assert row[token] > -np.inf
    assert wrong == 0


def test_a_row_does_not_depend_on_its_neighbours(isa: str, thread_count: int) -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 3, (9, 2000)).astype(np.float32)
    draws = [Draw(temperature=1.0, top_p=0.95, uniform=float(u)) for u in rng.random(9)]
    together = drawn(logits, draws)
    assert together == [drawn(logits[i : i + 1], draws[i : i + 1])[0] for i in range(9)]


def test_equal_logits_are_ranked_by_id(isa: str) -> None:
    logits = np.zeros((1, 50), np.float32)
    assert drawn(logits, [Draw()]) == [0]
    assert drawn(logits, [Draw(temperature=1.0, uniform=0.5)]) == [25]
    assert drawn(logits, [Draw(temperature=1.0, top_k=10, uniform=0.95)]) == [9]


def test_a_wholly_masked_row_gives_no_token(isa: str) -> None:
    logits = np.full((2, 40), -np.inf, np.float32)
    assert drawn(logits, [Draw(), Draw(temperature=1.0)]) == [-1, -1]


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1000])
def test_masks_as_the_twin_does(size: int) -> None:
    rng = np.random.default_rng(size)
    logits = rng.normal(0, 1, size).astype(np.float32)
    allowed = rng.integers(0, 1 << 32, (size + 31) // 32, dtype=np.uint32)
    expected = reference.mask_logits(logits, allowed)
    ops.mask_logits(logits, allowed)
    assert np.array_equal(logits, expected)


def test_a_contract_that_is_broken_is_refused() -> None:
    row = np.zeros((1, 4), np.float32)
    with pytest.raises(ContractBroken):
        ops.sample(row, [1.0, 1.0], [0], [1.0], [0.0], [0.5])
    with pytest.raises(ContractBroken):
        ops.sample(row, [1.0], [-1], [1.0], [0.0], [0.5])
    with pytest.raises(ContractBroken):
        ops.sample(row, [1.0], [0], [1.0], [0.0], [1.0])
    with pytest.raises(ContractBroken):
        ops.mask_logits(row[0], np.zeros(2, np.uint32))


@pytest.mark.parametrize("size", [1, 7, 1024, 4099])
@pytest.mark.parametrize("apart", [0.0, 0.01, 1.0, 30.0])
def test_two_rows_differ_as_the_twin_says(thread_count: int, size: int, apart: float) -> None:
    """To 1e-12 of what is added up: both add up in float64, one after the other or in pairs."""
    rng = np.random.default_rng(size)
    source = rng.normal(0, 4, (9, size)).astype(np.float32)
    model = (source + rng.normal(apart, apart, (9, size))).astype(np.float32)
    found = np.array(ops.diverge(source, model))
    expected = reference.diverge(source, model)
    limit = 1e-12 * (1 + np.abs(source - model).max())
    assert np.abs(found - expected).max() <= limit
    assert apart == 0.0 or size == 1 or (expected[:, 0] > 1000 * limit).all(), "nothing to see"


def test_a_masked_token_counts_where_only_the_source_takes_it() -> None:
    masked, open_to = (np.array([[0.0, second]], np.float32) for second in (-np.inf, 0.0))
    assert ops.diverge(masked, open_to)[0][0] == pytest.approx(np.log(2))
    assert ops.diverge(open_to, masked)[0][0] == np.inf
    assert ops.diverge(masked, masked)[0][0] == 0.0


def test_rows_of_two_shapes_are_not_compared() -> None:
    for source, model in (((2, 5), (2, 6)), ((2, 5), (3, 5)), ((1, 0), (1, 0))):
        with pytest.raises(ContractBroken):
            ops.diverge(np.zeros(source, np.float32), np.zeros(model, np.float32))
