"""Chunks, capped scores and sinks in attention, against the NumPy twin, on every instruction set.

Bounds and their reasons: those of test_attention_twins; a cap c adds c 2^-21, the rounding of the
hyperbolic tangent, to every score.
"""

from __future__ import annotations

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import LayerKv
from freehold.ops.reference import AttendRule, StepArrays
from tests.ops.grid import Array, floats, native, steps, tensor
from tests.ops.test_attention_twins import Cache, seeded

LENGTH, WIDTH, HEADS = 330, 20, 6  # six pages of 64, two segments of 256
SINKS = np.array([0, 3, -2, 8, -30, 1], np.float32)
RULES = {
    "chunk of one": AttendRule(chunk=1),
    "chunk within a page": AttendRule(chunk=17),
    "chunk of a page": AttendRule(chunk=64),
    "chunk over pages": AttendRule(chunk=150),
    "chunk of a segment": AttendRule(chunk=256),
    "chunk and window": AttendRule(chunk=100, window=40),
    "window in a chunk": AttendRule(chunk=64, window=200),
    "cap": AttendRule(softcap=1.5),
    "wide cap": AttendRule(softcap=50.0),
    "sinks": AttendRule(sinks=SINKS),
    "all": AttendRule(window=90, chunk=128, softcap=3.0, sinks=SINKS),
}


def filled(bits: int = 16) -> tuple[Cache, Array]:
    rng = seeded("rules", bits)
    cache = Cache([LayerKv(2, WIDTH, WIDTH)], 6, bits=bits)
    cache.write(rng, steps([0] * LENGTH))
    return cache, floats(rng, LENGTH, HEADS * WIDTH) * 3


def part(places: range) -> StepArrays:
    return StepArrays([0] * len(places), [*places], [0, len(places)], [[*range(6)]], [])


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_matches_its_twin_and_gives_the_same_bits_however_it_is_cut(
    isa: str, thread_count: int, name: str, bits: int
) -> None:
    cache, q = filled(bits)
    rule = RULES[name]
    whole = cache.compare(q, part(range(LENGTH)), rule=rule)
    for places in (range(30), range(40, 110), range(250, 262), range(128, 130)):
        assert np.array_equal(
            cache.compare(q[places.start : places.stop], part(places), rule=rule),
            whole[places.start : places.stop],
        )
    for place in (0, 16, 17, 63, 64, 149, 150, 256, 299, 300, 329):
        alone = cache.compare(q[place : place + 1], part(range(place, place + 1)), rule=rule)
        assert np.array_equal(alone[0], whole[place]), place


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_something_else(name: str) -> None:
    """A switch that did nothing would agree with a twin that did nothing."""
    cache, q = filled()
    step = part(range(LENGTH))
    plain = cache.compare(q, step)
    ruled = cache.compare(q, step, rule=RULES[name])
    assert np.abs(ruled - plain).max() > 1e-3


def test_what_lies_before_the_chunk_leaves_no_trace(isa: str) -> None:
    cache, q = filled()
    step, rule = part(range(LENGTH)), AttendRule(chunk=100)
    before = cache.compare(q, step, rule=rule)
    cache.write(seeded("other"), steps([0] * 300))
    after = cache.compare(q, step, rule=rule)
    assert np.array_equal(before[300:], after[300:])
    assert not np.array_equal(before[299], after[299])


def test_a_far_sink_changes_no_bit_and_a_high_one_leaves_nothing(isa: str) -> None:
    cache, q = filled()
    step = part(range(LENGTH))
    plain = cache.compare(q, step)
    far = cache.compare(q, step, rule=AttendRule(sinks=np.full(HEADS, -1e4, np.float32)))
    high = cache.compare(q, step, rule=AttendRule(sinks=np.full(HEADS, 1e4, np.float32)))
    assert np.array_equal(far, plain)
    assert not high.any()


def test_each_head_has_its_own_sink(isa: str) -> None:
    cache, q = filled()
    step = part(range(LENGTH))
    given = cache.compare(q, step, rule=AttendRule(sinks=SINKS)).reshape(LENGTH, HEADS, WIDTH)
    other = SINKS.copy()
    other[4] = 5
    changed = cache.compare(q, step, rule=AttendRule(sinks=other)).reshape(LENGTH, HEADS, WIDTH)
    differs = (given != changed).any(axis=(0, 2))
    assert differs.tolist() == [False, False, False, False, True, False]


@pytest.mark.parametrize(
    "bad",
    [
        AttendRule(window=-1),
        AttendRule(chunk=-1),
        AttendRule(softcap=-1.0),
        AttendRule(softcap=float("inf")),
        AttendRule(softcap=float("nan")),
        AttendRule(sinks=SINKS[:5]),
        AttendRule(sinks=np.stack([SINKS, SINKS])),
    ],
    ids=str,
)
def test_a_rule_that_means_nothing_is_refused(bad: AttendRule) -> None:
    cache, q = filled()
    good = AttendRule()
    cache.compare(q, part(range(LENGTH)), rule=good)
    out, sinks = ops.Tensor(LENGTH, q.shape[1]), None if bad.sinks is None else tensor(bad.sinks)
    with pytest.raises(ContractBroken, match="attend: "):
        ops.attend(
            tensor(q),
            cache.kv,
            0,
            native(part(range(LENGTH))),
            1.0,
            out,
            bad.window,
            chunk=bad.chunk,
            softcap=bad.softcap,
            sinks=sinks,
        )
