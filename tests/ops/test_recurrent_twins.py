"""The recurrent ops against their NumPy twins, on every instruction set.

Oracle: `freehold.ops.recurrent_reference`, in float64.

| what        | bound                               | reason                                     |
|-------------|-------------------------------------|--------------------------------------------|
| convolve    | 2^-20 of what was added up          | four float32 products; an exponential to   |
|             |                                     | two last places, a quotient                |
| delta_rule  | 1e-5 of the largest, 150 tokens on  | float32 sums over K; a state's errors fade |
|             |                                     | as the state does                          |
| norm_gate   | (V + 16) 2^-24 of the value         | a sum of V squares, a root, an exponential |
| open_values | 2^-21 of the value                  | an exponential, a quotient, a product      |

A wrong tap, head, gate or order is thousands of times larger. Cutting a text into steps, putting
others beside it, or changing threads changes no bit.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import recurrent_reference as twin
from tests.ops.grid import Array, floats, tensor

EPS = 1e-6
LAST = 2.0**-24


def seeded(*what: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


def pages() -> ops.KvPool:
    return ops.KvPool([ops.LayerKv(1, 16, 16)], 8)


def pool(cells: list[int], slots: int = 5) -> ops.KvPool:
    kv = pages()
    kv.states = ops.StatePool(cells, slots)
    return kv


def step(parts: list[tuple[int, int, int]]) -> ops.Step:
    """Parts of sequences: their slot, first position and number of tokens."""
    positions = [start + i for _, start, count in parts for i in range(count)]
    offsets = [0, *np.cumsum([count for _, _, count in parts]).tolist()]
    held = [list(range((start + count - 1) // ops.PAGE_TOKENS + 1)) for _, start, count in parts]
    slots = [slot for slot, _, _ in parts]
    return ops.Step([0] * len(positions), positions, offsets, held, [], slots)


# How 150 tokens may be cut into steps.
CUTS = [[150], [1] * 7 + [143], [64, 64, 22], [3, 1, 100, 45, 1], [2, 148]]


@pytest.mark.parametrize("taps", [2, 4])
@pytest.mark.parametrize("columns", [1, 8, 33, 511, 512, 1300])
def test_convolve_matches_its_twin_however_a_text_is_cut(
    isa: str, thread_count: int, columns: int, taps: int
) -> None:
    rng = seeded("convolve", columns, taps)
    x, weight = 3 * floats(rng, 150, columns), floats(rng, taps, columns)
    expected, _ = twin.convolve(x, weight, np.zeros((taps - 1, columns)))
    summed, _ = twin.convolve(np.abs(x), np.abs(weight), np.zeros((taps - 1, columns)))
    first = None
    for cuts in CUTS:
        kv, start, rows = pool([7, (taps - 1) * columns]), 0, []
        for count in cuts:
            given = tensor(np.concatenate([x[start : start + count], np.full((1, columns), 7)]))
            ops.convolve(given, tensor(weight), step([(3, start, count)]), kv, 1)
            assert (given.numpy()[count] == 7).all(), "wrote past the tokens"
            rows.append(given.numpy()[:count].copy())
            start += count
        ours = np.concatenate(rows)
        assert (np.abs(ours - expected) <= 2.0**-20 * (summed + 1e-3)).all()
        first = ours if first is None else first
        assert np.array_equal(ours, first), cuts


class Rule(NamedTuple):
    """The shapes of a delta rule."""

    key_heads: int
    value_heads: int
    key_width: int
    value_width: int

    @property
    def columns(self) -> int:
        return 2 * self.key_heads * self.key_width + self.value_heads * self.value_width

    @property
    def floats(self) -> int:
        return ops.delta_floats(self.value_heads, self.key_width, self.value_width)


class Given(NamedTuple):
    """What a delta rule is given, as arrays."""

    qkv: Array
    a: Array
    b: Array
    decay: Array
    dt_bias: Array

    def rows(self, start: int, count: int) -> Given:
        end = start + count
        return Given(
            self.qkv[start:end], self.a[start:end], self.b[start:end], self.decay, self.dt_bias
        )

    def run(self, rule: Rule, at: ops.Step, kv: ops.KvPool, *, tiled: bool) -> Array:
        count = len(self.qkv)
        out = tensor(np.full((count + 1, rule.value_heads * rule.value_width), 7.0))
        qkv, a, b, decay, dt_bias = map(tensor, self)
        ops.delta_rule(qkv, a, b, decay, dt_bias, rule.key_heads, tiled, at, kv, 0, out)
        assert (out.numpy()[count] == 7).all(), "wrote past the tokens"
        return out.numpy()[:count].copy()


def given(rng: np.random.Generator, rule: Rule, count: int) -> Given:
    heads = rule.value_heads
    decay = -np.exp(rng.uniform(-4, 2, heads))
    return Given(
        2 * floats(rng, count, rule.columns),
        2 * floats(rng, count, heads),
        2 * floats(rng, count, heads),
        decay.astype(np.float32),
        floats(rng, heads),
    )


RULES = [
    Rule(1, 1, 8, 8),
    Rule(2, 4, 16, 16),
    Rule(3, 3, 5, 33),
    Rule(2, 6, 128, 128),
    Rule(1, 2, 20, 70),
]


@pytest.mark.parametrize("tiled", [False, True], ids=["grouped", "tiled"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_delta_rule_matches_its_twin_however_a_text_is_cut(
    isa: str, thread_count: int, rule: Rule, tiled: bool
) -> None:
    case = given(seeded("delta", rule), rule, 150)
    empty = np.zeros((rule.value_heads, rule.key_width, rule.value_width))
    expected, _ = twin.delta_rule(case.qkv, case[1:], rule.key_heads, tiled, empty)
    first = None
    for cuts in CUTS:
        kv, start, rows = pool([rule.floats]), 0, []
        for count in cuts:
            part = case.rows(start, count)
            rows.append(part.run(rule, step([(3, start, count)]), kv, tiled=tiled))
            start += count
        ours = np.concatenate(rows)
        assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()
        first = ours if first is None else first
        assert np.array_equal(ours, first), cuts


def test_sequences_side_by_side_change_no_bit(isa: str, thread_count: int) -> None:
    """Three of them, at different places, in any order and slots."""
    rule = Rule(2, 4, 24, 40)
    rng = seeded("batch")
    cases = [given(rng, rule, 90)._replace(decay=-np.ones(4), dt_bias=np.ones(4)) for _ in range(3)]
    alone = []
    for case in cases:
        kv = pool([rule.floats])
        alone.append(case.run(rule, step([(0, 0, 90)]), kv, tiled=False))
    kv = pool([rule.floats])
    cases[1].rows(0, 37).run(rule, step([(2, 0, 37)]), kv, tiled=False)
    parts = [(4, 0, 30, 0), (2, 37, 1, 1), (1, 0, 90, 2)]

    def packed(name: str) -> Array:
        return np.concatenate([getattr(cases[c], name)[s : s + n] for _, s, n, c in parts])

    case = cases[0]._replace(qkv=packed("qkv"), a=packed("a"), b=packed("b"))
    together = case.run(rule, step([part[:3] for part in parts]), kv, tiled=False)
    expected = [alone[c][s : s + n] for _, s, n, c in parts]
    assert np.array_equal(together, np.concatenate(expected))


def test_a_state_copied_to_another_slot_goes_on_alike() -> None:
    rule = Rule(1, 2, 16, 16)
    case = given(seeded("copy"), rule, 40)
    kv = pool([rule.floats])
    assert kv.states is not None
    assert kv.states.slot_bytes == 4 * rule.floats
    case.rows(0, 20).run(rule, step([(0, 0, 20)]), kv, tiled=False)
    kv.states.copy(0, 3)
    case.rows(20, 5).run(rule, step([(0, 20, 5)]), kv, tiled=False)
    kv.states.copy(3, 3)
    ours = case.rows(20, 20).run(rule, step([(3, 20, 20)]), kv, tiled=False)
    whole = case.run(rule, step([(1, 0, 40)]), kv, tiled=False)
    assert np.array_equal(ours, whole[20:])


def test_a_first_token_finds_an_empty_state() -> None:
    """Whatever the slot held, even what is no number."""
    rule = Rule(1, 2, 16, 16)
    case = given(seeded("reset"), rule, 20)
    kv = pool([rule.floats])
    spoiled = case._replace(qkv=np.full_like(case.qkv, np.nan))
    assert np.isnan(spoiled.run(rule, step([(2, 0, 20)]), kv, tiled=False)).all()
    ours = case.run(rule, step([(2, 0, 20)]), kv, tiled=False)
    assert np.array_equal(ours, case.run(rule, step([(0, 0, 20)]), kv, tiled=False))
    assert np.isfinite(ours).all()


def test_what_is_no_number_stays_in_its_sequence(isa: str) -> None:
    rule = Rule(1, 2, 16, 16)
    case = given(seeded("nan"), rule, 20)
    clean = case.run(rule, step([(0, 0, 10), (1, 0, 10)]), pool([rule.floats]), tiled=False)
    case.qkv[:10] = np.nan
    ours = case.run(rule, step([(0, 0, 10), (1, 0, 10)]), pool([rule.floats]), tiled=False)
    assert np.array_equal(ours[10:], clean[10:])


@pytest.mark.parametrize("width", [1, 7, 16, 33, 128])
def test_norm_gate_matches_its_twin(isa: str, thread_count: int, width: int) -> None:
    rng = seeded("norm_gate", width)
    a, gate, norm = (
        3 * floats(rng, 10, 3 * width),
        5 * floats(rng, 9, 3 * width),
        floats(rng, width),
    )
    gate[0, :2] = [100, -100][: gate.shape[1]]
    ours = tensor(a)
    ops.norm_gate(ours, tensor(norm), EPS, tensor(gate), 9)
    expected = twin.norm_gate(a[:9], norm, EPS, gate)
    assert (
        np.abs(ours.numpy()[:9] - expected) <= (width + 16) * LAST * np.abs(expected) + 1e-35
    ).all()
    assert np.array_equal(ours.numpy()[9], a[9]), "wrote past the tokens"


def test_open_values_matches_its_twin(isa: str, thread_count: int) -> None:
    rng = seeded("open_values")
    a, gates = floats(rng, 38, 21), 5 * floats(rng, 37, 21)
    gates[:2, 0] = [200, -200]
    ours = tensor(a)
    ops.open_values(tensor(gates), 37, ours)
    expected = twin.open_values(gates, a[:37])
    assert np.allclose(ours.numpy()[:37], expected, rtol=2.0**-21, atol=1e-37)
    assert np.array_equal(ours.numpy()[37], a[37]), "wrote past the tokens"


def attempt(
    *,
    cells: tuple[int, ...] = (ops.delta_floats(4, 8, 8),),
    cell: int = 0,
    at: tuple[tuple[int, int, int], ...] = ((0, 0, 2),),
    key_heads: int = 2,
    columns: int = 64,
    heads: int = 4,
    rows: int = 2,
) -> None:
    """A delta rule of 2 key heads of 8 and 4 value heads of 8, or what is made of it."""
    ops.delta_rule(
        ops.Tensor(rows, columns),
        ops.Tensor(rows, 4),
        ops.Tensor(rows, heads),
        ops.Tensor(1, 4),
        ops.Tensor(1, heads),
        key_heads,
        False,
        step(list(at)),
        pool(list(cells)),
        cell,
        ops.Tensor(rows, 32),
    )


BROKEN: dict[str, tuple[str, Callable[[], object]]] = {
    "no pool": (
        "keeps no recurrent states",
        lambda: ops.convolve(ops.Tensor(2, 8), ops.Tensor(4, 8), step([(0, 0, 2)]), pages(), 0),
    ),
    "no slot": (
        "no slot",
        lambda: ops.convolve(
            ops.Tensor(2, 8),
            ops.Tensor(4, 8),
            ops.Step([0], [0], [0, 1], [[0]], []),
            pool([24]),
            0,
        ),
    ),
    "no room for columns": (
        "do not fit",
        lambda: ops.convolve(ops.Tensor(2, 8), ops.Tensor(4, 7), step([(0, 0, 2)]), pool([24]), 0),
    ),
    "too many taps": (
        "do not fit",
        lambda: ops.convolve(ops.Tensor(2, 8), ops.Tensor(17, 8), step([(0, 0, 2)]), pool([24]), 0),
    ),
    "a short x": (
        "too few rows",
        lambda: ops.convolve(ops.Tensor(1, 8), ops.Tensor(4, 8), step([(0, 0, 2)]), pool([24]), 0),
    ),
    "another cell": ("another size", lambda: attempt(cells=(24,))),
    "a cell outside": ("missing", lambda: attempt(cell=1)),
    "a slot outside": ("slot outside", lambda: attempt(at=((5, 0, 2),))),
    "a slot twice": ("same slot", lambda: attempt(at=((1, 0, 1), (1, 0, 1)))),
    "a token too early": ("do not follow", lambda: attempt(at=((0, 1, 2),))),
    "heads that do not share": ("multiple of key heads", lambda: attempt(key_heads=3)),
    "rows too narrow": ("do not fill", lambda: attempt(columns=32)),
    "rows between": ("do not fill", lambda: attempt(columns=63)),
    "gates missing": ("one gate", lambda: attempt(heads=3)),
    "too few rows": ("too few rows", lambda: attempt(rows=1)),
    "no cells": ("no cells", lambda: ops.StatePool([], 1)),
    "no slots": ("no slots", lambda: ops.StatePool([8], 0)),
    "an empty cell": ("out of range", lambda: ops.StatePool([8, 0], 1)),
    "a copy from nowhere": ("slot outside", lambda: ops.StatePool([8], 2).copy(2, 0)),
    "a copy to nowhere": ("slot outside", lambda: ops.StatePool([8], 2).copy(0, -1)),
    "a broken head": (
        "no multiple",
        lambda: ops.norm_gate(ops.Tensor(1, 8), ops.Tensor(1, 3), EPS, ops.Tensor(1, 8), 1),
    ),
    "gates of another width": (
        "one gate",
        lambda: ops.norm_gate(ops.Tensor(1, 8), ops.Tensor(1, 8), EPS, ops.Tensor(1, 4), 1),
    ),
    "values without gates": (
        "one gate",
        lambda: ops.open_values(ops.Tensor(1, 4), 1, ops.Tensor(1, 8)),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_contract_is_refused(name: str) -> None:
    words, broken = BROKEN[name]
    with pytest.raises(ContractBroken, match=words):
        broken()


def test_a_token_is_taken_in_once_and_in_turn() -> None:
    kv = pool([3 * 8])
    weight = ops.Tensor(4, 8)
    for start, count in ((0, 4), (4, 1)):
        ops.convolve(ops.Tensor(count, 8), weight, step([(0, start, count)]), kv, 0)
    for start in (4, 6, 3):
        with pytest.raises(ContractBroken, match="do not follow"):
            ops.convolve(ops.Tensor(1, 8), weight, step([(0, start, 1)]), kv, 0)
    ops.convolve(ops.Tensor(1, 8), weight, step([(0, 0, 1)]), kv, 0)
