"""Matrices whose rows stay where they lie: the same bits in every op as packed ones.

Room: tests/ops. Rows lie in any order and on any byte; the last group is not full.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest

from freehold import ops
from freehold.ops import Weight
from freehold.ops.expert_reference import Rule
from tests.ops import test_expert_twins as twice
from tests.ops.grid import Array, floats, misaligned, native, raw_weight, steps, tensor, weight

EPS = 1e-5
FLOATS = ("F32", "F16", "BF16")


def both(name: str, rows: int, cols: int, *, seed: int) -> tuple[Weight, Weight]:
    """A packed matrix, and the same one over rows that lie in another order."""
    rng = np.random.default_rng(seed)
    raw, _ = raw_weight(rng, name, rows, cols)
    kind = int(weight(rng, name, 1, cols)[0].type)
    packed, kept = Weight(kind, rows, cols), Weight(kind, rows, cols, in_place=True)
    packed.pack(0, rows, raw)
    order = rng.permutation(rows).astype(np.int32)
    lying = np.empty_like(raw.reshape(rows, -1))
    lying[order] = raw.reshape(rows, -1)
    kept.keep(0, rows, misaligned(lying.reshape(-1), 3), order)
    return packed, kept


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("count", [1, 5, 40])
def test_projections_give_the_same_bits(isa: str, name: str, count: int) -> None:
    rng = np.random.default_rng(1)
    x, norm = tensor(floats(rng, count, 75)), tensor(floats(rng, 75))
    made: list[list[Array]] = []
    for one, other in zip(*(both(name, 53, 75, seed=seed) for seed in (2, 3)), strict=True):
        outs = [ops.Tensor(count, 53) for _ in range(2)]
        ops.norm_project(x, norm, EPS, count, [one, other], [None, None], outs)
        gated, added = ops.Tensor(count, 53), ops.Tensor(count, 53)
        ops.gate_up(x, norm, EPS, one, other, count, gated)
        ops.project_add(x, one, None, count, added)
        step = ops.Step([0] * count, list(range(count)), [0, count], [[0]], [count - 1])
        logits = ops.Tensor(1, 53)
        ops.head(x, norm, EPS, other, step, logits)
        made.append([each.numpy().copy() for each in (*outs, gated, added, logits)])
    assert all(map(np.array_equal, *made))
    assert made[0][0].any()


@pytest.mark.parametrize("name", FLOATS)
def test_tables_heads_and_experts_give_the_same_bits(isa: str, name: str) -> None:
    rng = np.random.default_rng(4)
    x, norm = floats(rng, 6, 16), tensor(floats(rng, 16))
    router = weight(rng, "F32", 4, 16)[0]
    two = twice.native(Rule(chosen=2))
    pairs = [both(name, 64, 16, seed=seed) for seed in (5, 6, 7)]
    made: list[list[Array]] = []
    for gate, up, down in zip(*pairs, strict=True):
        routing, mixed = ops.Routing(), tensor(x)
        ops.route(mixed, norm, EPS, router, None, two, 6, routing)
        ops.mix_experts(norm, EPS, gate, up, down, routing, mixed)
        table, heads = ops.Tensor(6, 16), ops.Tensor(6, 64)
        ops.embed(gate, native(steps([63, 0, 17, 16, 52, 1])), table)
        ops.project_heads(tensor(np.tile(x, 2)), up, 2, 6, heads)
        made.append([each.numpy().copy() for each in (mixed, table, heads)])
    assert all(map(np.array_equal, *made))
    assert not np.array_equal(made[0][0], x)


@pytest.mark.parametrize("name", FLOATS)
def test_values_are_kept_and_rows_not_given_are_zero(name: str) -> None:
    packed, kept = both(name, 53, 75, seed=8)
    gc.collect()  # nobody else holds the rows
    assert np.array_equal(kept.unpack(), packed.unpack())
    empty = Weight(packed.type, 20, 75, in_place=True)
    assert not empty.unpack().any()
    out = tensor(np.ones((1, 20)))
    ops.norm_project(tensor(np.ones((1, 75))), None, EPS, 1, [empty], [None], [out])
    assert not out.numpy().any()
