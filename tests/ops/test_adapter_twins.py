"""The ops of adapters against their NumPy twins, on every instruction set.

Oracle: `freehold.ops.adapter_reference`.

| what            | bound                                  | reason                               |
|-----------------|----------------------------------------|--------------------------------------|
| what an adapter | 3e-6 of the sum of the magnitudes that | two float32 sums in a row, of D and  |
| adds            | are added up, and a last place of the  | r terms; the matrices are drawn such |
|                 | output                                 | that their bits hold them exactly    |
| gate_rows       | 2e-6 of the value                      | the exponential's two last places    |

Another adapter's matrices, a lost scale or a wrong row are thousands of times larger.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import adapter_reference as twin
from freehold.ops.adapter_reference import Pair
from tests.ops.grid import Array, floats, tensor, weight
from tests.parity.checkpoint_blocks import type_number

EPS = 1e-5
SEQUENCES = (3, 1, 1, 2, 7, 1, 5, 1)  # tokens of each
ADAPTERS = (4, -1, 0, 4, 2, 7, -1, 0)  # 7 is resident, but leaves these matrices alone


def seeded(*what: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


def rounded(values: Array, bits: int) -> Array:
    """Values that this many bits hold exactly: the op then has no rounding of its own."""
    if bits == 16:
        return values.astype(np.float16).astype(np.float32)
    out = np.round(values * 40).clip(-127, 127)
    out[:, ::32] = 127  # so that every block's scale is a whole number of the unit
    return (out / 128).astype(np.float32)


def pair(rng: np.random.Generator, rank: int, rows: int, cols: int, bits: int = 16) -> Pair:
    lower, upper = (rounded(floats(rng, *shape), bits) for shape in ((rank, cols), (rows, rank)))
    return Pair(lower, upper, float(rng.uniform(0.5, 3)))


def resident(entries: Mapping[int, Sequence[Pair | None]], bits: int = 16) -> ops.Deltas:
    deltas = ops.Deltas()
    for index, pairs in entries.items():
        lower = np.concatenate([one.lower for one in pairs if one is not None])
        ups = [None if one is None else ops.Thin(one.upper, bits) for one in pairs]
        scales = [0.0 if one is None else one.scale for one in pairs]
        deltas.put(index, ops.Thin(lower, bits), ups, scales)
    return deltas


def step_of(counts: Sequence[int], adapters: Sequence[int]) -> ops.Step:
    offsets = np.cumsum([0, *counts]).tolist()
    total = offsets[-1]
    places = [place for count in counts for place in range(count)]
    pages = [[i] for i in range(len(counts))]
    return ops.Step([0] * total, places, offsets, pages, [], adapters=adapters)


def per_token(counts: Sequence[int], adapters: Sequence[int]) -> list[int]:
    return [a for count, a in zip(counts, adapters, strict=True) for _ in range(count)]


def made(
    seed: str, cols: int, rows: Sequence[int], ranks: Sequence[int], bits: int = 16
) -> dict[int, list[Pair | None]]:
    """Adapters 0, 2 and 4; the last leaves the first output alone where there are several."""
    rng = seeded(seed, cols, rows, ranks)
    entries: dict[int, list[Pair | None]] = {
        index: [pair(rng, rank, n, cols, bits) for n, rank in zip(rows, ranks, strict=True)]
        for index in (0, 2, 4)
    }
    if len(rows) > 1:
        entries[4][0] = None
    return entries


def bound(x: Array, norm: Array | None, entries: Mapping[int, Sequence[Pair | None]]) -> float:
    """An upper bound of the magnitudes that are added up for any value."""
    n = x if norm is None else x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS) * norm
    pairs = [one for many in entries.values() for one in many if one is not None]
    return max(
        float((one.scale * (np.abs(n) @ np.abs(one.lower).T) @ np.abs(one.upper).T).max())
        for one in pairs
    )


def added(
    x: Array, norm: Array | None, widths: Sequence[int], step: ops.Step, deltas: ops.Deltas
) -> list[Array]:
    """What adapters alone add: to products with matrices of zeros, which round no activations."""
    zeros = [ops.Weight(type_number("F32"), rows, x.shape[1]) for rows in widths]
    for rows, zero in zip(widths, zeros, strict=True):
        zero.pack(0, rows, np.zeros(rows * x.shape[1] * 4, np.uint8))
    outs = [ops.Tensor(len(x), rows) for rows in widths]
    given = None if norm is None else tensor(norm)
    bare = [None] * len(widths)
    ops.norm_project(tensor(x), given, EPS, len(x), zeros, bare, outs, step, deltas)
    return [out.numpy().copy() for out in outs]


SHAPES = {
    "one": (64, (64,), (16,)),
    "q, k, v": (72, (72, 24, 24), (16, 8, 5)),
    "odd": (67, (33, 17), (3, 1)),
    "narrow": (3, (1,), (1,)),
    "high rank": (48, (160,), (40,)),
}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("normed", [False, True], ids=["plain", "normed"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_what_adapters_add_matches_their_twin_and_each_sequence_alone(
    isa: str,
    thread_count: int,
    shape: tuple[int, tuple[int, ...], tuple[int, ...]],
    normed: bool,
    bits: int,
) -> None:
    cols, rows, ranks = shape
    entries = made("deltas", cols, rows, ranks, bits)
    deltas = resident(entries, bits)
    rng = seeded("input", shape)
    total = sum(SEQUENCES)
    x, before = floats(rng, total, cols), [np.zeros((total, n), np.float32) for n in rows]
    norm = floats(rng, cols) if normed else None
    outs = added(x, norm, rows, step_of(SEQUENCES, ADAPTERS), deltas)
    chosen = per_token(SEQUENCES, ADAPTERS)
    expected = twin.add_deltas(x, norm, EPS, chosen, entries, before)
    limit = 3e-6 * bound(x, norm, entries)
    untouched = [t for t, adapter in enumerate(chosen) if adapter in (-1, 7)]
    for out, want in zip(outs, expected, strict=True):
        assert np.abs(out - want).max() <= limit
        assert not out[untouched].any()
    starts = np.cumsum([0, *SEQUENCES])
    for s, (count, adapter) in enumerate(zip(SEQUENCES, ADAPTERS, strict=True)):
        part = slice(starts[s], starts[s] + count)
        alone = added(x[part], norm, rows, step_of([count], [adapter]), deltas)
        for one, out in zip(alone, outs, strict=True):
            assert np.array_equal(one, out[part]), "a batch changed bits"


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "normed"])
def test_a_product_told_of_adapters_is_the_product_and_what_they_add(
    isa: str, thread_count: int, normed: bool
) -> None:
    """Matrices in 16 bits meet the activations themselves, whatever the product's meet."""
    cols, rows = 96, (72, 24, 24)
    entries = made("product", cols, rows, (16, 8, 5))
    deltas, rng = resident(entries), seeded("product", cols)
    weights = [weight(rng, "Q4_1", n, cols)[0] for n in rows]
    norm = floats(rng, cols) if normed else None
    given = None if norm is None else tensor(norm)
    total, step, chosen = (
        sum(SEQUENCES),
        step_of(SEQUENCES, ADAPTERS),
        per_token(SEQUENCES, ADAPTERS),
    )
    x = floats(rng, total, cols)
    told, plain = ([ops.Tensor(total, n) for n in rows] for _ in range(2))
    bare = [None] * len(rows)
    ops.norm_project(tensor(x), given, EPS, total, weights, bare, told, step, deltas)
    ops.norm_project(tensor(x), given, EPS, total, weights, bare, plain)
    expected = twin.add_deltas(x, norm, EPS, chosen, entries, [out.numpy() for out in plain])
    limit = 3e-6 * bound(x, norm, entries)
    for out, want, was in zip(told, expected, plain, strict=True):
        assert np.abs(out.numpy() - want).max() <= limit + 2.0**-22 * np.abs(was.numpy()).max()
    lone = made("down", cols, rows[:1], (16,))
    before = floats(rng, total, rows[0])
    one, two = tensor(before), tensor(before)
    ops.project_add(tensor(x), weights[0], None, total, one, step, resident(lone))
    ops.project_add(tensor(x), weights[0], None, total, two)
    want = twin.add_deltas(x, None, EPS, chosen, lone, [two.numpy()])[0]
    limit = 3e-6 * bound(x, None, lone) + 2.0**-22 * np.abs(two.numpy()).max()
    assert np.abs(one.numpy() - want).max() <= limit
    assert np.abs(one.numpy() - two.numpy()).max() > 1000 * limit, "the adapters added nothing"


def test_adapters_differ_and_scales_count(isa: str) -> None:
    """Else an op that mixed adapters up, or lost a scale, would pass."""
    entries = made("deltas", 72, (72, 24, 24), (16, 8, 5))
    x, before = floats(seeded("x"), 1, 72), [np.zeros((1, n), np.float32) for n in (72, 24, 24)]
    first, second = (twin.add_deltas(x, None, EPS, [i], entries, before)[1] for i in (0, 2))
    assert np.abs(first - second).max() > 1
    assert all(one is None or abs(one.scale - 1) > 1e-3 for one in entries[0])


def test_a_dropped_adapter_adds_nothing_and_an_index_can_be_taken_again(isa: str) -> None:
    entries = made("deltas", 64, (64,), (16,))
    deltas = resident(entries)
    x = floats(seeded("x"), 1, 64)

    def found() -> Array:
        return added(x, None, (64,), step_of([1], [2]), deltas)[0]

    first = found()
    deltas.drop(2)
    deltas.drop(2)
    deltas.drop(4095)
    assert not found().any()
    one = entries[2][0]
    assert one is not None
    lower, upper = ops.Thin(one.lower, 16), ops.Thin(one.upper, 16)
    deltas.put(2, lower, [upper], [0.0])
    assert not found().any()
    deltas.put(2, lower, [upper], [one.scale])
    assert np.array_equal(found(), first)


@pytest.mark.parametrize("kind", ["F32", "Q4_K", "Q8_0"])
def test_gate_rows_after_a_projection_has_the_bits_of_gate_up(
    isa: str, thread_count: int, kind: str
) -> None:
    rng = seeded("gate", kind)
    x, norm = floats(rng, 19, 256), floats(rng, 256)
    (gate, _), (up, _) = weight(rng, kind, 200, 256), weight(rng, kind, 200, 256)
    fused = tensor(np.zeros((19, 200), np.float32))
    ops.gate_up(tensor(x), tensor(norm), EPS, gate, up, 19, fused)
    opened, raised = (tensor(np.zeros((19, 200), np.float32)) for _ in range(2))
    pair_of = (gate, up)
    ops.norm_project(tensor(x), tensor(norm), EPS, 19, pair_of, (None, None), (opened, raised))
    expected = twin.gate_rows(raised.numpy(), opened.numpy())
    ops.gate_rows(raised, 19, opened)
    assert np.array_equal(opened.numpy(), fused.numpy())
    assert np.allclose(opened.numpy(), expected, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("magnitude", [1e-30, 1e-7, 1.0, 1e5, 1e30])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_matrix_of_any_magnitude_is_rounded_and_no_more(
    isa: str, bits: int, magnitude: float
) -> None:
    """In 16 bits a value by 2^-11 of itself, in 8 by half of 1/127 of the largest of its 32; the
    scales are float16 too. Values far below their matrix's largest lose more, and count less."""
    rng = seeded("round", bits, magnitude)
    values = floats(rng, 20, 70) * np.float32(magnitude)
    deltas = ops.Deltas()
    identity = np.eye(70, dtype=np.float32)
    deltas.put(0, ops.Thin(identity, 16), [ops.Thin(values, bits)], [1.0])
    step = ops.Step([0] * 70, list(range(70)), [0, 70], [[0, 1]], [], adapters=[0])
    found = added(identity, None, (20,), step, deltas)[0].T
    if bits == 16:
        limit = np.abs(values) * 2.0**-11 + magnitude * 2.0**-23
    else:
        blocks = [np.abs(values[:, k : k + 32]).max(axis=1, keepdims=True) for k in (0, 32, 64)]
        largest = np.repeat(np.concatenate(blocks, axis=1), 32, axis=1)[:, :70]
        limit = largest * (0.5 / 127 + 2.0**-11)
    assert (np.abs(found - values) <= limit).all()
    assert ops.Thin(values, bits).bytes == (32 * 70 * 2 if bits == 16 else 32 * 70 + 2 * 3 * 32)


def test_broken_contracts_are_refused(thread_count: int) -> None:  # whoever notices them
    deltas = ops.Deltas()
    ones = np.ones((6, 8), np.float32)
    down, up = ops.Thin(ones[:4].copy(), 16), ops.Thin(ones[:, :4].copy(), 8)
    x, out = tensor(np.ones((2, 8))), tensor(np.ones((2, 6)))
    for bad in (
        lambda: deltas.put(-1, down, [up], [1.0]),
        lambda: deltas.put(4096, down, [up], [1.0]),
        lambda: ops.Thin(ones, 4),
        lambda: ops.Thin(ones * np.float32(np.nan), 8),
        lambda: ops.Thin(ones * np.float32(np.inf), 16),
        lambda: deltas.put(0, down, [up, up], [1.0, 1.0]),  # ranks 8, rows 4
        lambda: deltas.put(0, down, [up], []),
        lambda: deltas.put(0, down, [up], [float("nan")]),
        lambda: ops.Step([0], [0], [0, 1], [[0]], [], adapters=[0, 0]),
        lambda: ops.gate_rows(out, 3, out),
        lambda: ops.gate_rows(x, 2, out),
    ):
        with pytest.raises(ContractBroken):
            bad()
    deltas.put(0, down, [up], [1.0])
    step, narrow = step_of([2], [0]), np.ones((2, 7), np.float32)
    two = np.ones((2, 8), np.float32)
    assert added(two, None, (6,), step, deltas)
    for arguments in (
        (two[:1], None, (6,), step, deltas),
        (narrow, None, (6,), step, deltas),
        (two, np.ones(7, np.float32), (6,), step, deltas),
        (two, None, (5,), step, deltas),
        (two, None, (), step, deltas),
    ):
        with pytest.raises(ContractBroken):
            added(*arguments)
    with pytest.raises(ContractBroken, match="deltas without a step"):
        ops.project_add(x, weight(seeded(), "F32", 6, 8)[0], None, 2, out, step)


def test_a_step_knows_whether_anybody_has_an_adapter() -> None:
    assert not step_of([1, 1], []).adapted
    assert not step_of([1, 1], [-1, -1]).adapted
    assert step_of([1, 1], [-1, 0]).adapted
