"""Attention that sees only the last tokens, against its NumPy twin, on every instruction set.

Bounds and their reasons: those of test_attention_twins.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import PAGE_TOKENS, Tensor, reference
from freehold.ops.reference import AttendRule, StepArrays
from tests.ops.grid import Array, floats, native, steps, tensor
from tests.ops.test_attention_twins import Cache, alike, seeded

LENGTH = 560  # nine pages of 64, three segments of 256
WIDTH = 20
SCALE = WIDTH**-0.5


@dataclass
class Filled:
    """Pages of random keys and values, the step that wrote them, and queries (T, 6 A)."""

    cache: Cache
    step: StepArrays
    q: Array


def filled(*, bits: int = 16) -> Filled:
    rng = seeded("window", bits)
    cache = Cache(alike(1, 2, WIDTH), LENGTH // PAGE_TOKENS + 1, bits=bits)
    step = steps([0] * LENGTH)
    cache.write(rng, step)
    return Filled(cache, step, floats(rng, LENGTH, 6 * WIDTH))


@functools.cache
def twin(bits: int, window: int) -> tuple[Array, float]:
    """What the twin says of the whole text, and how far from it the core may be."""
    given = filled(bits=bits)
    kept, q = given.cache.twin, given.q
    return reference.attend(q, kept, 0, given.step, SCALE, AttendRule(window)), given.cache.bound(q)


def attended(given: Filled, window: int, places: range = range(LENGTH)) -> Array:
    """The core's attention for the tokens at these places, run as one step."""
    step = StepArrays([0] * len(places), [*places], [0, len(places)], given.step.pages, [])
    out = Tensor(len(places), given.q.shape[1])
    q = tensor(given.q[places.start : places.stop])
    ops.attend(q, given.cache.kv, 0, native(step), SCALE, out, window)
    return out.numpy().copy()


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("window", [1, 2, 17, 63, 64, 65, 100, 128, 255, 256, 257, 300, 513])
def test_a_window_matches_its_twin_and_gives_the_same_bits_however_it_is_cut(
    isa: str, thread_count: int, window: int, bits: int
) -> None:
    """Prompt, chunks that start anywhere, and single tokens whose work is split by segment."""
    given = filled(bits=bits)
    expected, bound = twin(bits, window)
    whole = attended(given, window)
    assert np.abs(whole - expected).max() <= bound
    for start, count in [(0, 33), (150, 100), (250, 40), (511, 2), (460, 100)]:
        places = range(start, start + count)
        part = whole[start : start + count]
        assert np.array_equal(attended(given, window, places), part), places
    for place in (0, 64, 255, 256, 300, 320, 511, 512, 513, 559):
        alone = attended(given, window, range(place, place + 1))
        assert np.array_equal(alone[0], whole[place]), place


def test_a_window_wider_than_the_text_changes_no_bit(isa: str) -> None:
    given = filled()
    assert np.array_equal(attended(given, LENGTH), attended(given, 0))
    assert np.array_equal(attended(given, 2**31 - 1), attended(given, 0))


def test_what_lies_before_the_window_leaves_no_trace(isa: str) -> None:
    """Other keys and values there, on whole pages and in the page that the window cuts."""
    given = filled()
    before = attended(given, 100)
    given.cache.write(seeded("other"), steps([0] * 400))
    after = attended(given, 100)
    assert np.array_equal(before[499:], after[499:])
    assert not np.array_equal(before[498], after[498])


def test_a_window_of_one_gives_back_the_tokens_own_value(isa: str) -> None:
    given = filled()
    values = np.concatenate(list(given.cache.twin.values[0][given.step.pages[0]]), axis=1)
    own = np.repeat(values[:, :LENGTH], 3, axis=0).swapaxes(0, 1).reshape(LENGTH, -1)
    assert np.array_equal(attended(given, 1), own)


def test_a_negative_window_is_refused() -> None:
    with pytest.raises(ContractBroken, match="window"):
        attended(filled(), -1)
