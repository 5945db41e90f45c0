"""The ops of mixtures of experts against their NumPy twins, on every instruction set.

Oracle: `freehold.ops.expert_reference`.

| what             | bound                                | reason                                 |
|------------------|--------------------------------------|----------------------------------------|
| experts chosen   | none: the same, in the same order    | drawn scores lie further apart than    |
|                  |                                      | float32 logits blur                    |
| their weights    | 1e-5 of the weight                   | logits are float32 sums over D         |
| a mixture        | 2e-5 of what is added, 2e-2 when     | three products in a row; a last place  |
|                  | quantized, and 2^-19 of what was     | may tip a half to another int8 code    |
| open_rows        | 2 2^-24 of the value                 | one float32 factor, one product        |

The wrong expert, weight or row is thousands of times larger.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import expert_reference as twin
from freehold.ops.expert_reference import Rule, Terms
from freehold.ops.reference import Matrix
from tests.ops.grid import Array, floats, tensor, weight

EPS = 1e-5
TOKENS = 53

RULES = {
    "top 2, renormalised": Rule(chosen=2, renormalise=True),
    "top 1": Rule(chosen=1),
    "top 8, plain": Rule(chosen=8),
    "all": Rule(chosen=24, renormalise=True, scale=0.5),
    "scaled": Rule(chosen=4, scale=2.5),
    "sigmoid": Rule(chosen=3, scoring="sigmoid"),
    "sigmoid, renormalised": Rule(
        chosen=6, scoring="sigmoid", renormalise=True, epsilon=0.3, scale=2.5
    ),
    "best of groups": Rule(chosen=3, groups=4, groups_kept=2, group_top=1),
    "two best of groups": Rule(
        chosen=6, scoring="sigmoid", renormalise=True, groups=6, groups_kept=3, group_top=2
    ),
}


def seeded(*what: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


def native(rule: Rule) -> ops.RouterRule:
    return ops.RouterRule(
        chosen=rule.chosen,
        scoring=ops.SCORINGS.index(rule.scoring),
        renormalise=rule.renormalise,
        epsilon=rule.epsilon,
        scale=rule.scale,
        groups=rule.groups,
        groups_kept=rule.groups_kept,
        group_top=rule.group_top,
    )


def routed(routing: ops.Routing) -> tuple[Array, Array]:
    shape = (routing.count, routing.chosen)
    return np.array(routing.ids).reshape(shape), np.array(routing.weights).reshape(shape)


@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_route_matches_its_twin(isa: str, thread_count: int, rule: Rule, with_bias: bool) -> None:
    rng = seeded("route")
    x, norm = np.float32(3) * floats(rng, TOKENS, 60), floats(rng, 60)
    router, matrix = weight(rng, "F32", 24, 60)
    matrix = Matrix(matrix.values / np.float32(4), quantized=False)
    router.pack(0, 24, matrix.values.reshape(-1).view(np.uint8))
    bias = np.float32(0.1) * floats(rng, 24) if with_bias else None
    out = ops.Routing()
    given = None if bias is None else tensor(bias)
    ops.route(tensor(x), tensor(norm), EPS, router, given, native(rule), TOKENS, out)
    ids, weights = routed(out)
    expected, weighed = twin.route(x, norm, EPS, matrix, Terms(bias), rule)
    assert np.array_equal(ids, expected)
    assert np.allclose(weights, weighed, rtol=1e-5, atol=0)
    for t in (0, 1, TOKENS - 1):  # alone, the same bits
        ops.route(tensor(x[t : t + 1]), tensor(norm), EPS, router, given, native(rule), 1, out)
        assert np.array_equal(np.array(out.ids), ids[t])
        assert np.array_equal(np.array(out.weights), weights[t])


def test_the_rules_choose_differently() -> None:
    """Else a switch that did nothing would pass."""
    rng = seeded("route")
    x, norm = np.float32(3) * floats(rng, TOKENS, 60), floats(rng, 60)
    _, matrix = weight(rng, "F32", 24, 60)
    matrix = Matrix(matrix.values / np.float32(4), quantized=False)
    bias = np.float32(0.1) * floats(rng, 24)
    base = Rule(chosen=4, scoring="sigmoid")
    plain, weights = twin.route(x, norm, EPS, matrix, Terms(), base)
    assert not np.array_equal(plain, twin.route(x, norm, EPS, matrix, Terms(bias), base)[0])
    grouped = Rule(chosen=4, scoring="sigmoid", groups=6, groups_kept=3, group_top=2)
    two = twin.route(x, norm, EPS, matrix, Terms(), grouped)[0]
    assert not np.array_equal(plain, two)
    grouped = Rule(chosen=4, scoring="sigmoid", groups=6, groups_kept=3, group_top=1)
    assert not np.array_equal(two, twin.route(x, norm, EPS, matrix, Terms(), grouped)[0])
    normal = Rule(chosen=4, scoring="sigmoid", renormalise=True)
    assert np.abs(twin.route(x, norm, EPS, matrix, Terms(), normal)[1] - weights).min() > 0.1


def test_equal_scores_go_to_the_lower_expert_and_nan_does_not_crash(isa: str) -> None:
    router = ops.Weight(0, 8, 16)
    router.pack(0, 8, np.zeros(8 * 16, np.float32).view(np.uint8))
    x = np.ones((2, 16), np.float32)
    x[1] = np.nan
    out = ops.Routing()
    rule = native(Rule(chosen=3, groups=4, groups_kept=2, group_top=2))
    ops.route(tensor(x), tensor(np.ones(16)), EPS, router, None, rule, 2, out)
    assert out.ids[:3] == [0, 1, 2]
    assert len(set(out.ids[3:])) == 3
    assert np.allclose(out.weights[:3], 1 / 8)


TYPES = [("F32", "F32", "F32"), ("Q4_K", "Q4_K", "Q6_K"), ("Q8_0", "F16", "Q4_K"), ("MXFP4",) * 3]


def stacked(
    rng: np.random.Generator, name: str, experts: int, rows: int, cols: int
) -> tuple[ops.Weight, list[Matrix]]:
    packed, matrix = weight(rng, name, experts * rows, cols)
    parts = matrix.values.reshape(experts, rows, cols)
    return packed, [Matrix(part, matrix.quantized) for part in parts]


def mixes() -> list[object]:
    """Each combination of types with three of the experts, one with all counts; else slow."""
    return [
        pytest.param(
            names,
            chosen,
            id=f"{'-'.join(names)}-{chosen}",
            marks=[] if chosen == 3 or names == TYPES[1] else [pytest.mark.slow],
        )
        for names in TYPES
        for chosen in (1, 3, 7)
    ]


@pytest.mark.parametrize(("names", "chosen"), mixes())
def test_mix_experts_matches_its_twin_for_every_count(
    isa: str, thread_count: int, names: tuple[str, str, str], chosen: int
) -> None:
    """And a token's result is the same bits alone and beside any number of others."""
    rng = seeded("mix", names, chosen)
    experts, width, inner = 7, 256, 256
    gate, gates = stacked(rng, names[0], experts, inner, width)
    up, ups = stacked(rng, names[1], experts, inner, width)
    down, downs = stacked(rng, names[2], experts, width, inner)
    router, matrix = weight(rng, "F32", experts, width)
    x = floats(rng, TOKENS, width)
    norm: Array = floats(rng, width) / 8
    rule = Rule(chosen=chosen, renormalise=True)

    kept = tensor(norm)

    def mixed(rows: Array) -> Array:
        to, given = ops.Routing(), tensor(np.concatenate([rows, np.full((1, width), 7.0)]))
        ops.route(given, kept, EPS, router, None, native(rule), len(rows), to)
        ops.mix_experts(kept, EPS, gate, up, down, to, given)
        assert (given.numpy()[len(rows) :] == 7).all(), "wrote past the tokens"
        return given.numpy()[: len(rows)].copy()

    whole = mixed(x)
    to = twin.route(x, norm, EPS, matrix, Terms(), rule)
    expected = twin.mix_experts(x, norm, EPS, list(zip(gates, ups, downs, strict=True)), to)
    added = np.abs(expected - x).max(axis=1, keepdims=True)
    share = 2e-2 if any(name not in ("F32", "F16") for name in names) else 2e-5
    assert np.isfinite(whole).all()
    assert (np.abs(whole - expected) <= share * added + 2.0**-19 * np.abs(x)).all()
    for count in (1, 2, 3, 16, 17, 33, 48):
        assert np.array_equal(mixed(x[:count]), whole[:count]), count
    for t in range(TOKENS):
        assert np.array_equal(mixed(x[t : t + 1])[0], whole[t]), t


def test_experts_that_nobody_chose_are_not_read(isa: str) -> None:
    """Their weights are NaN here, which would spread if they were."""
    rng = seeded("unread")
    parts = [floats(rng, 4, 16, 16) for _ in range(3)]
    for part in parts:
        part[[0, 2]] = np.nan
    gate, up, down = made = [ops.Weight(0, 64, 16) for _ in parts]
    for packed, part in zip(made, parts, strict=True):
        packed.pack(0, 64, part.reshape(-1).view(np.uint8))
    router = ops.Weight(0, 4, 16)
    rows = np.zeros((4, 16), np.float32)
    rows[[1, 3], 0] = [5, -5]
    router.pack(0, 4, rows.reshape(-1).view(np.uint8))
    x = np.zeros((6, 16), np.float32)
    x[:, 0] = [3, -3, 4, -5, 1, 2]
    given, to, norm = tensor(x), ops.Routing(), tensor(np.ones(16))
    ops.route(given, norm, EPS, router, None, native(Rule(chosen=1)), 6, to)
    assert to.ids == [1, 3, 1, 3, 1, 1]
    ops.mix_experts(norm, EPS, gate, up, down, to, given)
    assert np.isfinite(given.numpy()).all()
    assert not np.array_equal(given.numpy(), x)


def test_open_rows_matches_its_twin(thread_count: int) -> None:
    rng = seeded("open")
    a, gates = floats(rng, 37, 21), 5 * floats(rng, 36, 1)
    gates[:2, 0] = [200, -200]
    given = tensor(a)
    ops.open_rows(tensor(gates), 36, given)
    expected = twin.open_rows(gates, a[:36])
    assert np.allclose(given.numpy()[:36], expected, rtol=2.0**-23, atol=1e-40)
    assert np.array_equal(given.numpy()[36], a[36])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": 0}, "more experts wanted"),
        ({"chosen": 9}, "more experts wanted"),
        ({"groups": 3}, "groups do not divide"),
        ({"groups": 4, "groups_kept": 5}, "groups do not divide"),
        ({"groups": 4, "group_top": 3}, "groups do not divide"),
        ({"chosen": 5, "groups": 4, "groups_kept": 2, "group_top": 1}, "too few experts"),
        ({"scale": float("inf")}, "out of range"),
        ({"scoring": 7}, "unknown"),
    ],
    ids=str,
)
def test_route_refuses_a_broken_rule(change: dict[str, Any], words: str) -> None:
    router, x = ops.Weight(0, 8, 16), ops.Tensor(1, 16)

    def attempt() -> None:
        rule = ops.RouterRule(**{"chosen": 2, **change})
        ops.route(x, ops.Tensor(1, 16), EPS, router, None, rule, 1, ops.Routing())

    with pytest.raises(ContractBroken, match=words):
        attempt()


def test_mix_experts_refuses_what_does_not_fit() -> None:
    x, norm, to = ops.Tensor(2, 16), ops.Tensor(1, 16), ops.Routing()
    good, wide = ops.Weight(0, 64, 16), ops.Weight(0, 4 * 20, 16)
    with pytest.raises(ContractBroken, match="nothing was routed"):
        ops.mix_experts(norm, EPS, good, good, good, to, x)
    ops.route(x, norm, EPS, ops.Weight(0, 4, 16), None, ops.RouterRule(chosen=2), 2, to)
    with pytest.raises(ContractBroken, match="not stacked"):
        ops.mix_experts(norm, EPS, good, ops.Weight(0, 32, 16), good, to, x)
    with pytest.raises(ContractBroken, match="not stacked"):
        ops.mix_experts(norm, EPS, good, good, ops.Weight(0, 48, 16), to, x)
    with pytest.raises(ContractBroken, match="multiples of 16"):
        ops.mix_experts(norm, EPS, wide, wide, ops.Weight(0, 64, 20), to, x)
    with pytest.raises(ContractBroken, match="more tokens"):
        ops.mix_experts(norm, EPS, good, good, good, to, ops.Tensor(1, 16))
    with pytest.raises(ContractBroken, match="one gate"):
        ops.open_rows(ops.Tensor(1, 1), 2, x)
