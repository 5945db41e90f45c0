"""Products that are told of adapters, on every instruction set.

Oracle: `freehold.ops.adapter_reference`, with the product alone beside it. Where the weights meet
activations rounded to int8, so do an adapter's 8-bit matrices, and its values between the two
products are rounded to 1/16256 of a token's largest.

| what            | bound                                   | reason                              |
|-----------------|-----------------------------------------|-------------------------------------|
| what an adapter | 5e-6 of the sum of the magnitudes that  | two float32 sums in a row, and a    |
| adds            | are added up, half of 1/16256 of h's    | last place of the output; the       |
|                 | largest in each of B's products, and a  | matrices are drawn such that their  |
|                 | last place of the output                | bits hold them exactly              |

Activations that met A unrounded, or h rounded to 8 bits, would be off by many times that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from freehold import ops
from freehold.ops import adapter_reference as twin
from freehold.ops.adapter_reference import Pair
from freehold.ops.reference import round_activations
from tests.ops.grid import Array, floats, tensor, weight
from tests.ops.test_adapter_twins import (
    ADAPTERS,
    EPS,
    SEQUENCES,
    bound,
    made,
    per_token,
    resident,
    seeded,
    step_of,
)

KINDS = ["Q4_1", "Q8_0", "Q4_K", "F32"]
TOTAL = sum(SEQUENCES)
Product = Callable[[Array, ops.Step | None], list[Array]]


def digits_bound(x: Array, entries: dict[int, list[Pair | None]]) -> float:
    """How far what is added may be off because h is rounded."""
    pairs = [one for many in entries.values() for one in many if one is not None]
    largest = [np.abs(x @ one.lower.T).max() for one in pairs]
    rows = [one.scale * np.abs(one.upper).sum(axis=1).max() for one in pairs]
    return float(max(0.5 / 16256 * h * row for h, row in zip(largest, rows, strict=True)))


@pytest.mark.parametrize("ranks", [(16, 8, 12), (32, 40, 64), (5, 3, 1)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_eight_bits_meet_activations_as_the_weights_do(
    isa: str, thread_count: int, kind: str, ranks: tuple[int, ...]
) -> None:
    cols, rows = 256, (72, 24, 24)
    entries = made("eight", cols, rows, ranks, bits=8)
    deltas = resident(entries, bits=8)
    rng = seeded("eight", kind, ranks)
    weights = [weight(rng, kind, n, cols)[0] for n in rows]
    x = floats(rng, TOTAL, cols)
    bare = [None] * len(rows)
    plain, adapted = ([ops.Tensor(TOTAL, n) for n in rows] for _ in range(2))
    ops.norm_project(tensor(x), None, EPS, TOTAL, weights, bare, plain)
    step = step_of(SEQUENCES, ADAPTERS)
    ops.norm_project(tensor(x), None, EPS, TOTAL, weights, bare, adapted, step, deltas)
    before = [out.numpy() for out in plain]
    chosen = per_token(SEQUENCES, ADAPTERS)
    rounded = kind != "F32"
    met: Array = round_activations(x) if rounded else x
    expected = twin.add_deltas(met, None, EPS, chosen, entries, before)
    limit = 5e-6 * bound(x, None, entries) + (digits_bound(x, entries) if rounded else 0.0)
    for out, want, was in zip(adapted, expected, before, strict=True):
        assert np.abs(out.numpy() - want).max() <= limit + 2.0**-22 * np.abs(was).max()
        untouched = [t for t, adapter in enumerate(chosen) if adapter in (-1, 7)]
        assert np.array_equal(out.numpy()[untouched], was[untouched])


def products(kind: str, bits: int) -> dict[str, Product]:
    """Each product with adapters, and without where no step is given."""
    cols, rows = 256, (72, 24, 40)
    rng = seeded("products", kind)
    weights = [weight(rng, kind, n, cols)[0] for n in rows]
    gate, up = (weight(rng, kind, 200, cols)[0] for _ in range(2))
    norm = tensor(floats(rng, cols))
    three = resident(made("three", cols, rows, (16, 8, 5), bits), bits)
    two = resident(made("two", cols, (200, 200), (16, 20), bits), bits)
    one = resident(made("one", cols, (72,), (16,), bits), bits)

    def told(step: ops.Step | None, deltas: ops.Deltas) -> tuple[ops.Step, ops.Deltas] | tuple[()]:
        return () if step is None else (step, deltas)

    def norm_project(x: Array, step: ops.Step | None) -> list[Array]:
        outs = [ops.Tensor(len(x), n) for n in rows]
        bare, more = [None] * len(rows), told(step, three)
        ops.norm_project(tensor(x), norm, EPS, len(x), weights, bare, outs, *more)
        return [out.numpy().copy() for out in outs]

    def project_add(x: Array, step: ops.Step | None) -> list[Array]:
        out = tensor(np.ones((len(x), 72), np.float32))
        ops.project_add(tensor(x), weights[0], None, len(x), out, *told(step, one))
        return [out.numpy().copy()]

    def gate_up(x: Array, step: ops.Step | None) -> list[Array]:
        out = ops.Tensor(len(x), 200)
        how = ops.Gating()
        ops.gate_up(tensor(x), norm, EPS, gate, up, len(x), out, how, *told(step, two))
        return [out.numpy().copy()]

    def parted(x: Array, step: ops.Step | None) -> list[Array]:
        outs = [ops.Tensor(len(x), 200) for _ in range(2)]
        more = told(step, two)
        ops.norm_project(tensor(x), norm, EPS, len(x), (gate, up), (None, None), outs, *more)
        ops.gate_rows(outs[1], len(x), outs[0])
        return [outs[0].numpy().copy()]

    return {
        "norm_project": norm_project,
        "project_add": project_add,
        "gate_up": gate_up,
        "parted": parted,
    }


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_has_the_same_bits_alone_and_in_any_batch(
    isa: str, thread_count: int, kind: str, bits: int
) -> None:
    x = floats(seeded("batch", kind), TOTAL, 256)
    starts = np.cumsum([0, *SEQUENCES])
    for product in products(kind, bits).values():
        together = product(x, step_of(SEQUENCES, ADAPTERS))
        without = product(x, None)
        for s, (count, adapter) in enumerate(zip(SEQUENCES, ADAPTERS, strict=True)):
            part = slice(starts[s], starts[s] + count)
            alone = product(x[part], step_of([count], [adapter]))
            for mine, all_of_them, plain in zip(alone, together, without, strict=True):
                assert np.array_equal(mine, all_of_them[part]), "a batch changed bits"
                changed = not np.array_equal(mine, plain[part])
                assert changed or adapter in (-1, 7, 4), "the adapter added nothing"


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_come_before_the_gate(isa: str, kind: str, bits: int) -> None:
    x = floats(seeded("gate", kind), TOTAL, 256)
    step, found = step_of(SEQUENCES, ADAPTERS), products(kind, bits)
    assert np.array_equal(found["gate_up"](x, step)[0], found["parted"](x, step)[0])
    assert not np.array_equal(found["gate_up"](x, step)[0], found["gate_up"](x, None)[0])


def test_adapters_add_to_the_first_outputs_when_there_are_more(isa: str) -> None:
    """A gate beside queries, keys and values takes nothing."""
    rng = seeded("more")
    weights = [weight(rng, "Q4_1", n, 64)[0] for n in (48, 16, 32)]
    deltas = resident(made("more", 64, (48, 16), (16, 8), 8), 8)
    x, step = tensor(floats(rng, 2, 64)), step_of([2], [0])
    outs, plain = ([ops.Tensor(2, n) for n in (48, 16, 32)] for _ in range(2))
    ops.norm_project(x, None, EPS, 2, weights, [None] * 3, outs, step, deltas)
    ops.norm_project(x, None, EPS, 2, weights, [None] * 3, plain)
    same = [np.array_equal(a.numpy(), b.numpy()) for a, b in zip(outs, plain, strict=True)]
    assert same == [False, False, True]
