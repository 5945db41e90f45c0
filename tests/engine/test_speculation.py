"""Guesses change how long an answer takes, and nothing of it.

Every expected answer comes from an engine that computes one token at a time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.engine.engine import Engine
from freehold.engine.request import Output, Request, together
from freehold.engine.runner import Part, Runner
from freehold.engine.sampler import Sampling
from freehold.engine.speculation import MOST_GUESSES, Guesser, Memory, StepCosts
from freehold.loading import load_gguf
from freehold.models.base import Model
from tests.loading.small import Dims, small

DIMS = Dims(kind="Q8_0", D=64, H=2, G=1, A=32, F=64)
GREEDY = Sampling()
# So biased, that a random model repeats itself now and then.
BIAS = tuple((token, 6.0) for token in range(3, 7))
SAMPLINGS = {
    "greedy": GREEDY,
    "warm": Sampling(temperature=1.0, seed=5, logit_bias=BIAS),
    "penalised": Sampling(
        temperature=0.7, seed=9, logit_bias=BIAS, repetition_penalty=1.1, frequency_penalty=0.2
    ),
}


class Always(StepCosts):
    """Guesses so many tokens whatever they cost."""

    def __init__(self, guesses: int) -> None:
        super().__init__()
        self._guesses = guesses

    def best(self, right: float) -> int:
        del right
        return self._guesses


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_gguf(small(DIMS).write(tmp_path_factory.mktemp("m") / "m.gguf")).model


def request(**changes: Any) -> Request:
    tokens: list[int] = np.random.default_rng(1).integers(0, DIMS.V, 30).tolist()
    return replace(Request(id="a", tokens=tokens, max_tokens=150), **changes)


def answered(
    model: Model, asked: Request, *, speculates: bool, always: int | None = None
) -> tuple[Output, Engine]:
    """The whole answer; with `always`, so many tokens are guessed whatever they cost."""
    engine = Engine(Runner(model, tokens=1024), speculates=speculates)
    if always is not None:
        engine.costs = Always(always)
    engine.submit(asked)
    outputs = []
    while engine.has_work:
        outputs += [output for _, output in engine.step()]
    engine.runner.pages.check()
    return together(outputs)._replace(queue_s=0.0), engine


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("guesses", [1, 3, MOST_GUESSES])
def test_an_answer_is_the_same_with_guesses(model: Model, sampling: Sampling, guesses: int) -> None:
    asked = request(sampling=sampling, logprobs=2)
    expected, plain = answered(model, asked, speculates=False)
    found, engine = answered(model, asked, speculates=True, always=guesses)
    assert found == expected
    stats = engine.stats()
    assert stats.guessed_tokens_total > stats.kept_tokens_total > 0
    assert stats.generation_tokens_total == len(expected.tokens) == 150
    assert plain.stats().guessed_tokens_total == 0


@pytest.mark.parametrize("length", range(1, 12))
def test_an_answer_is_never_longer_than_asked(model: Model, length: int) -> None:
    asked = request(max_tokens=length)
    expected, _ = answered(model, asked, speculates=False)
    found, _ = answered(model, asked, speculates=True, always=MOST_GUESSES)
    assert found == expected
    assert len(found.tokens) == length


def test_a_stop_id_among_guesses_ends_the_answer(model: Model) -> None:
    whole, _ = answered(model, request(), speculates=False)
    for stop in dict.fromkeys(whole.tokens):
        asked = request(stop_ids=frozenset({stop}), logprobs=0)
        expected, _ = answered(model, asked, speculates=False)
        found, engine = answered(model, asked, speculates=True, always=MOST_GUESSES)
        assert found == expected
        assert found.finish_reason == "stop"
        assert engine.runner.pages.num_pages_free == engine.runner.pages.count


def test_what_is_remembered_of_an_answer_is_what_it_said(model: Model) -> None:
    """A second turn continues from pages whose guesses were taken back."""
    first = request(max_tokens=120)
    expected, _ = answered(model, first, speculates=False)
    _, engine = answered(model, first, speculates=True, always=MOST_GUESSES)
    turn = [*first.tokens, *expected.tokens, 5, 9, 5]
    second = replace(first, id="b", tokens=turn, max_tokens=40)
    engine.submit(second)
    outputs = []
    while engine.has_work:
        outputs += [output for _, output in engine.step()]
    assert outputs[0].cached_tokens >= 128
    fresh, _ = answered(model, second, speculates=False)
    assert together(outputs).tokens == fresh.tokens


def test_answers_side_by_side_are_not_guessed(model: Model) -> None:
    engine = Engine(Runner(model, tokens=2048))
    engine.costs = Always(MOST_GUESSES)
    run, widths = engine.runner.run, []

    def watched(parts: list[Part]) -> np.ndarray:
        widths.append((len(parts), sum(len(part.tokens) for part in parts)))
        return run(parts)

    engine.runner.run = watched  # type: ignore[method-assign]
    engine.submit(request(max_tokens=90))
    engine.submit(request(id="b", max_tokens=30))
    while engine.has_work:
        engine.step()
    assert all(tokens == count for count, tokens in widths[1:] if count == 2)
    assert any(tokens > 1 for count, tokens in widths[31:] if count == 1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 8))
def test_a_guess_is_what_followed_the_last_time(known: list[int], most: int) -> None:
    def alike(place: int) -> int:
        agreed = 0
        while agreed < min(6, place) and known[place - agreed - 1] == known[-agreed - 1]:
            agreed += 1
        return agreed

    def plain() -> list[int]:
        places = [place for place in range(len(known) - 1, 1, -1) if alike(place) >= 2][:16]
        if not places:
            return []
        best = max(places, key=alike)  # the first of several
        return (known[best:] * most)[:most]

    grown: list[int] = []
    guesser = Guesser(grown)
    for token in known:
        grown.append(token)
        guesser.guess(most)
    assert guesser.guess(most) == plain()
    assert Guesser(known).guess(most) == plain()


def costs_of(*seconds: float) -> StepCosts:
    costs = StepCosts()
    for tokens, each in enumerate(seconds, start=1):
        costs.learn(tokens, each)
    return costs


def test_as_much_is_guessed_as_pays() -> None:
    flat, steep = costs_of(*[1.0] * 8), costs_of(1.0, 2, 3, 4, 5, 6, 7, 8)
    assert flat.best(right=0.9) == MOST_GUESSES
    assert flat.best(right=0.02) == 0
    assert steep.best(right=0.99) == 0
    # As kernels have it: two cost little more than one, four half more, eight twice as much.
    tiles = costs_of(1.0, 1.05, 1.4, 1.4, 2, 2.1, 2.1, 2.1)
    assert [tiles.best(right) for right in (0.05, 0.3, 0.8, 0.98)] == [0, 1, 3, 7]


def test_costs_that_say_no_are_looked_at_again() -> None:
    costs = costs_of(*[2.0 * n for n in range(1, 9)])
    assert [costs.best(0.9) for _ in range(64)].count(1) == 2
    for _ in range(60):
        costs.learn(1, 2.0)
        costs.learn(2, 2.0)
    assert costs.best(0.9) >= 1


def test_without_a_measured_step_nothing_is_guessed() -> None:
    assert StepCosts().best(right=1.0) == 0


def test_a_wrong_guess_is_remembered_and_forgiven() -> None:
    guesser = Guesser([1, 2, 3, 1, 2])
    assert guesser.guess(2) == [3, 1]
    before = guesser.right
    for _ in range(40):
        guesser.learn(1, 0)
    assert guesser.right < 0.01
    for _ in range(300):
        guesser.guess(3)
    assert guesser.right > 0.9 * before
    for _ in range(40):
        guesser.learn(3, 3)
    assert guesser.right > 0.99


def test_earlier_answers_are_precedents_for_whom_they_were_given() -> None:
    memory = Memory()
    memory.add("one", [4, 5, 6, 7, 8])
    assert Guesser([1, 4, 5], memory.of("one")).guess(2) == [6, 7]
    assert Guesser([1, 4, 5], memory.of("other")).guess(2) == []
    # The text itself says better what comes, where it agrees in as much.
    assert Guesser([4, 5, 9, 4, 5], memory.of("one")).guess(1) == [9]
    assert Guesser([4, 5, 9, 4, 5, 6], memory.of("one")).guess(1) == [7]


def test_what_is_remembered_is_bounded() -> None:
    memory = Memory()
    for number in range(200):
        memory.add("one", list(range(number, number + 500)))
    assert len(memory.of("one").text) <= 1 << 14
    assert Guesser([600, 601], memory.of("one")).guess(1) == [602]
    for number in range(40):
        memory.add(number, [1, 2, 3])
    assert Guesser([600, 601], memory.of("one")).guess(1) == []


def test_an_answer_given_before_is_guessed_for_its_asker_alone(model: Model) -> None:
    def steps(engine: Engine, asked: Request) -> tuple[int, list[int]]:
        engine.submit(asked)
        tokens: list[int] = []
        count = 0
        while engine.has_work:
            tokens += [token for _, output in engine.step() for token in output.tokens]
            count += 1
        return count, tokens

    engine = Engine(Runner(model, tokens=1024))
    engine.costs = Always(MOST_GUESSES)
    asked = request(owner="one", sampling=SAMPLINGS["warm"], max_tokens=60)
    first, tokens = steps(engine, asked)
    again, same = steps(engine, replace(asked, id="b"))
    other, also = steps(engine, replace(asked, id="c", owner="other"))
    assert tokens == same == also
    assert again < first == other


def test_a_longer_precedent_is_the_better_one() -> None:
    guesser = Guesser([9, 1, 2, 3, 5, 1, 2, 7, 9, 1, 2])
    assert guesser.guess(1) == [3]  # after 9 1 2, though 1 2 went on with 7 later
    likely = guesser.right
    assert Guesser([1, 2, 7, 1, 2]).right < likely
