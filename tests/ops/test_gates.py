"""Gates, the terms of routers and experts, and ops on whole rows, against their NumPy twins.

Oracle: `freehold.ops.reference` and `freehold.ops.expert_reference`. Weights are F32, so that only
the order of float32 sums and the exponential lie between the two.

| what             | bound                                  | reason                              |
|------------------|----------------------------------------|-------------------------------------|
| a gated MLP      | 2e-5 of the largest result of a token  | two float32 sums of K products, an  |
|                  |                                        | exponential to a few last places    |
| a mixture        | 2e-5 of what is added, and 2^-19 of    | three such products in a row        |
|                  | what was                               |                                     |
| router weights   | 1e-5 of the weight                     | logits are float32 sums over D      |
| add_normed       | (D + 8) 2^-24 of |x| + |normed|        | a float32 sum of squares            |
| scale, parts     | none                                   | one float32 product                 |
| softcap          | 4 2^-24 of the result                  | the tanh of libm                    |
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import expert_reference, gate_reference, reference
from freehold.ops.expert_reference import Experts, Rule, Terms
from freehold.ops.gate_reference import Gating
from freehold.ops.reference import Matrix
from tests.ops.grid import Array, floats, tensor, weight

EPS = 1e-5
LAST = 2.0**-24
GATINGS = [Gating(), Gating("gelu_tanh"), Gating("clamped", 1.702, 1.5)]
EXPERTS, WIDTH, INNER, TOKENS = 5, 48, 32, 37


def seeded(*what: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


def native(how: Gating) -> ops.Gating:
    return ops.Gating(ops.GATES.index(how.kind), how.slope, how.limit)


@pytest.mark.parametrize("normed", [True, False], ids=["normed", "as it is"])
@pytest.mark.parametrize("how", GATINGS, ids=lambda how: how.kind)
def test_every_gate_matches_its_twin(
    isa: str, thread_count: int, how: Gating, normed: bool
) -> None:
    """For whole groups of rows and a part of one, alone and beside other tokens the same bits."""
    rng = seeded("gate", how.kind)
    gate, gates = weight(rng, "F32", 53, 67)
    up, ups = weight(rng, "F32", 53, 67)
    x, norm = 2 * floats(rng, TOKENS, 67), floats(rng, 67)
    given = tensor(norm) if normed else None
    out = ops.Tensor(TOKENS + 1, 53)
    ops.gate_up(tensor(x), given, EPS, gate, up, TOKENS, out, native(how))
    twin = reference.gate_up(x, norm if normed else None, EPS, gates, ups, how)
    whole = out.numpy()[:TOKENS].copy()
    assert (np.abs(whole - twin) <= 2e-5 * np.abs(twin).max(axis=1, keepdims=True)).all()
    assert not out.numpy()[TOKENS].any(), "wrote past the tokens"
    opened, raised = ops.Tensor(TOKENS, 53), ops.Tensor(TOKENS, 53)
    apart, none = (gate, up), (None, None)
    ops.norm_project(tensor(x), given, EPS, TOKENS, apart, none, (opened, raised))
    ops.gate_rows(raised, TOKENS, opened, native(how))
    assert np.array_equal(opened.numpy(), whole), "in parts, the same bits"
    for t in (0, 17, TOKENS - 1):
        ops.gate_up(tensor(x[t : t + 1]), given, EPS, gate, up, 1, out, native(how))
        assert np.array_equal(out.numpy()[0], whole[t])


def test_gates_differ_and_clamp_on_both_sides() -> None:
    """Else one that did nothing would pass; the clamped one reaches its limits here."""
    gate = np.array([[-30.0, -1.0, 0.5, 9.0]])
    up = np.array([[-8.0, -0.5, 0.5, 8.0]])
    opened = [gate_reference.open_gate(gate, up, how)[0] for how in GATINGS]
    assert np.abs(opened[0] - opened[1])[1:].min() > 0.005
    slope, limit = GATINGS[2].slope, GATINGS[2].limit
    open_fully = limit / (1 + np.exp(-slope * limit)) * (limit + 1)
    assert np.isclose(opened[2][3], open_fully)
    assert np.isclose(opened[2][0], -30 / (1 + np.exp(30 * slope)) * (1 - limit))


@pytest.mark.parametrize("gate", [-1e30, -200.0, 0.0, 200.0, 1e30])
@pytest.mark.parametrize("how", GATINGS[1:], ids=lambda how: how.kind)
def test_gates_hold_at_the_edges(isa: str, how: Gating, gate: float) -> None:
    packed, one = ops.Weight(0, 1, 1), ops.Weight(0, 1, 1)
    packed.pack(0, 1, np.array([gate], np.float32).view(np.uint8))
    one.pack(0, 1, np.ones(1, np.float32).view(np.uint8))
    out = ops.Tensor(1, 1)
    ops.gate_up(tensor(np.ones(1)), None, EPS, packed, one, 1, out, native(how))
    opened = {"gelu_tanh": max(gate, 0.0), "clamped": 2 * min(max(gate, 0.0), how.limit)}
    if how.kind == "clamped" and gate > 0:
        opened["clamped"] /= 1 + np.exp(-how.slope * how.limit)
    # Beyond -87 the exponential stands still: what is left is below 1e-36 of the gate.
    assert abs(float(out.numpy()[0, 0]) - opened[how.kind]) <= 1e-6 * abs(
        opened[how.kind]
    ) + 1e-35 * abs(gate)


RULES: dict[str, Callable[[list[Array]], Experts]] = {
    "biases": lambda b: Experts(gate_bias=b[0], up_bias=b[1], down_bias=b[2]),
    "clamped, biases": lambda b: Experts(
        gating=GATINGS[2], gate_bias=b[0], up_bias=b[1], down_bias=b[2]
    ),
    "gelu": lambda _: Experts(gating=GATINGS[1]),
    "weighed inputs": lambda _: Experts(weigh_inputs=True),
    "all": lambda b: Experts(
        gating=GATINGS[1], gate_bias=b[0], up_bias=b[1], down_bias=b[2], weigh_inputs=True
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_experts_with_terms_match_their_twin(isa: str, thread_count: int, name: str) -> None:
    rng = seeded("terms", name)
    parts = []
    for rows, cols in ((INNER, WIDTH), (INNER, WIDTH), (WIDTH, INNER)):
        packed, matrix = weight(rng, "F32", EXPERTS * rows, cols)
        own = [Matrix(part, False) for part in matrix.values.reshape(EXPERTS, rows, cols)]
        parts.append((packed, own))
    gate, up, down = (packed for packed, _ in parts)
    router, matrix = weight(rng, "F32", EXPERTS, WIDTH)
    x, norm = floats(rng, TOKENS, WIDTH), floats(rng, WIDTH) * np.float32(0.25)
    biases = [floats(rng, EXPERTS, n) for n in (INNER, INNER, WIDTH)]
    rule, plain = RULES[name](biases), Experts()
    chosen = Rule(chosen=2, scoring="sigmoid")
    to = expert_reference.route(x, norm, EPS, matrix, Terms(), chosen)
    experts = list(zip(*(own for _, own in parts), strict=True))
    twin = expert_reference.mix_experts(x, norm, EPS, experts, to, rule)
    kept = tensor(norm)

    def mixed(rows: Array, start: Array) -> Array:
        given, out, routing = tensor(rows), tensor(start), ops.Routing()
        router_rule = ops.RouterRule(chosen=2, scoring=1)
        ops.route(given, kept, EPS, router, None, router_rule, len(rows), routing)
        terms = [None if b is None else tensor(b) for b in (rule.gate_bias, rule.up_bias)]
        ops.mix_experts(
            kept,
            EPS,
            gate,
            up,
            down,
            routing,
            given,
            out,
            gating=native(rule.gating),
            gate_bias=terms[0],
            up_bias=terms[1],
            down_bias=None if rule.down_bias is None else tensor(rule.down_bias),
            weigh_inputs=rule.weigh_inputs,
        )
        assert np.array_equal(given.numpy(), rows), "the input changed"
        return out.numpy().copy()

    whole = mixed(x, x)
    added = np.abs(twin - x).max(axis=1, keepdims=True)
    assert (np.abs(whole - twin) <= 2e-5 * added + 2.0**-19 * np.abs(x)).all()
    other = expert_reference.mix_experts(x, norm, EPS, experts, to, plain)
    assert np.abs(twin - other).max() > 0.01 * added.max(), "the terms change nothing here"
    for t in (0, 5, TOKENS - 1):
        assert np.array_equal(mixed(x[t : t + 1], x[t : t + 1])[0], whole[t])


def test_routers_with_terms_match_their_twin(isa: str, thread_count: int) -> None:
    rng = seeded("router terms")
    router, matrix = weight(rng, "F32", 24, 60)
    matrix = Matrix(matrix.values * np.float32(0.25), False)
    router.pack(0, 24, matrix.values.reshape(-1).view(np.uint8))
    x, norm = 3 * floats(rng, TOKENS, 60), floats(rng, 60)
    bias, offsets, factors = np.array([[0.1], [2], [1]], np.float32) * floats(rng, 3, 24)
    terms = Terms(bias, offsets, factors)
    rule = Rule(chosen=3, renormalise=True)
    out = ops.Routing()
    ops.route(
        tensor(x),
        tensor(norm),
        EPS,
        router,
        tensor(bias),
        ops.RouterRule(chosen=3, renormalise=True),
        TOKENS,
        out,
        offsets=tensor(offsets),
        factors=tensor(factors),
    )
    ids, weights = expert_reference.route(x, norm, EPS, matrix, terms, rule)
    assert np.array_equal(np.array(out.ids).reshape(ids.shape), ids)
    assert np.allclose(np.array(out.weights).reshape(ids.shape), weights, rtol=1e-5, atol=0)
    assert not np.array_equal(ids, expert_reference.route(x, norm, EPS, matrix, Terms(), rule)[0])


@pytest.mark.parametrize("cols", [1, 15, 64, 203])
def test_ops_on_rows_match_their_twins(isa: str, thread_count: int, cols: int) -> None:
    rng = seeded("rows", cols)
    x, y, norm = floats(rng, 12, cols), 3 * floats(rng, 12, cols), floats(rng, cols)
    given = tensor(x)
    ops.add_normed(tensor(y), tensor(norm), EPS, 11, given)
    twin = reference.add_normed(y[:11], norm, EPS, x[:11])
    bound = (cols + 8) * LAST * (np.abs(x[:11]) + np.abs(twin - x[:11]))
    assert (np.abs(given.numpy()[:11] - twin) <= bound).all()
    ops.softcap(given, 0.7, 11)
    capped = gate_reference.softcap(twin, 0.7)
    assert np.allclose(given.numpy()[:11], capped, rtol=0, atol=bound.max() + 4 * LAST * 0.7)
    assert np.abs(capped - twin).max() > 0.01
    assert np.array_equal(given.numpy()[11], x[11]), "wrote past the tokens"
    given = tensor(x)
    ops.scale(given, -1.7, 11)
    assert np.array_equal(given.numpy()[:11], gate_reference.scale(x[:11], -1.7))
    assert np.array_equal(given.numpy()[11], x[11]), "wrote past the tokens"


def test_runs_are_normed_apart_and_parts_of_rows_multiply(isa: str, thread_count: int) -> None:
    rng = seeded("runs")
    x, y, norm = floats(rng, 12, 60), floats(rng, 12, 60), floats(rng, 20)
    given = tensor(x)
    ops.add_normed(tensor(y), tensor(norm), EPS, 12, given)
    twin = reference.add_normed(y, norm, EPS, x)
    assert (np.abs(given.numpy() - twin) <= 28 * LAST * (np.abs(x) + np.abs(twin - x))).all()
    part = tensor(x[:, :20])
    ops.multiply_part(tensor(y), 33, 11, part)
    assert np.array_equal(part.numpy()[:11], gate_reference.multiply_part(y[:11], 33, x[:11, :20]))
    assert np.array_equal(part.numpy()[11], x[11, :20]), "wrote past the tokens"


def test_a_factor_of_zero_clears_whatever_was_there() -> None:
    x = tensor(np.array([[np.nan, np.inf, 1.0]], np.float32))
    ops.scale(x, 0.0, 1)
    assert np.array_equal(x.numpy(), np.zeros((1, 3)))


def rows(count: int, cols: int) -> ops.Tensor:
    return tensor(np.ones((count, cols), np.float32))


SQUARE = ops.Weight(0, 8, 8)


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(ContractBroken, match="unknown"):
        ops.Gating(3)


BROKEN: dict[str, Callable[[], None]] = {
    "too few rows": lambda: ops.add_normed(rows(1, 8), rows(1, 8), EPS, 2, rows(2, 8)),
    "widths": lambda: ops.add_normed(rows(2, 8), rows(1, 8), EPS, 2, rows(2, 9)),
    "norm": lambda: ops.add_normed(rows(2, 8), rows(1, 9), EPS, 2, rows(2, 8)),
    "scaled past the rows": lambda: ops.scale(rows(1, 8), 2.0, 2),
    "no number": lambda: ops.scale(rows(1, 8), float("inf"), 1),
    "capped past the rows": lambda: ops.softcap(rows(1, 8), 2.0, 2),
    "columns past the last": lambda: ops.multiply_part(rows(2, 8), 5, 2, rows(2, 4)),
    "no cap": lambda: ops.softcap(rows(1, 8), 0.0, 1),
    "no limit": lambda: ops.gate_up(
        rows(1, 8),
        None,
        EPS,
        ops.Weight(0, 8, 8),
        ops.Weight(0, 8, 8),
        1,
        rows(1, 8),
        ops.Gating(2),
    ),
    "a late query by two": lambda: ops.scale_late(
        rows(1, 8), ops.Step([0], [0], [0, 1], [[0]], []), 0.1, 9, 2
    ),
}


@pytest.mark.parametrize("attempt", BROKEN.values(), ids=BROKEN.keys())
def test_broken_contracts_are_refused(attempt: Callable[[], None]) -> None:
    with pytest.raises(ContractBroken):
        attempt()


def test_experts_refuse_biases_of_another_shape() -> None:
    x, norm, to, good = rows(2, 16), rows(1, 16), ops.Routing(), ops.Weight(0, 64, 16)
    ops.route(x, norm, EPS, ops.Weight(0, 4, 16), None, ops.RouterRule(chosen=2), 2, to)
    short = rows(4, 15)
    with pytest.raises(ContractBroken, match="one row of biases"):
        ops.mix_experts(norm, EPS, good, good, good, to, x, gate_bias=short)
    with pytest.raises(ContractBroken, match="one row of biases"):
        ops.mix_experts(norm, EPS, good, good, good, to, x, up_bias=short)
    with pytest.raises(ContractBroken, match="one row of biases"):
        ops.mix_experts(norm, EPS, good, good, good, to, x, down_bias=short)
    with pytest.raises(ContractBroken, match="output shape"):
        ops.mix_experts(norm, EPS, good, good, good, to, x, rows(1, 16))
    router, rule = ops.Weight(0, 4, 16), ops.RouterRule(chosen=2)
    with pytest.raises(ContractBroken, match="bias width"):
        ops.route(x, norm, EPS, router, None, rule, 2, to, offsets=rows(1, 5))
    with pytest.raises(ContractBroken, match="bias width"):
        ops.route(x, norm, EPS, router, None, rule, 2, to, factors=rows(1, 5))
