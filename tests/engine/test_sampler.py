"""The sampler against a slow reading of the definitions, and each parameter's limits.

The slow sampler works on lists, one token at a time, draws in float64; random numbers come from the
same generator, so that the tokens themselves must agree.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

from freehold.engine.sampler import Sampler, Sampling
from freehold.errors import BadSampling, RequestError

V = 97
PROMPT = [3, 3, 5, 8, 13, 21]
NAN = float("nan")

BAD: dict[str, tuple[object, ...]] = {
    "temperature": (-0.1, 100.5, NAN, math.inf, "1", None, True),
    "top_k": (-1, 1.0, (1 << 31) + 1, "5", None, True),
    "top_p": (0.0, -0.5, 1.01, NAN, "1", None, True),
    "min_p": (-0.01, 1.01, NAN, "1", None, True),
    "repetition_penalty": (0.0, -1.0, 101.0, NAN, math.inf, None, True),
    "repetition_window": (-1, 0.5, "1", True),
    "presence_penalty": (-101.0, 101.0, NAN, "0", None, False),
    "frequency_penalty": (-101.0, 101.0, NAN, "0", None, False),
    "seed": (-1, 1 << 64, 0.5, "1", True),
}


def slow_tokens(sampling: Sampling, rows: list[list[float]]) -> list[int]:
    """What the definitions say for these logits, one row a token."""
    random = np.random.Generator(np.random.PCG64(sampling.seed))
    said: Counter[int] = Counter()
    tokens = []
    for row in rows:
        logits = penalised(sampling, row, said)
        if sampling.temperature == 0:
            token = min(range(len(logits)), key=lambda i: (-logits[i], i))
        else:
            token = drawn(kept(sampling, logits), random.random())
        said[token] += 1
        tokens.append(token)
    return tokens


def penalised(sampling: Sampling, row: list[float], said: Counter[int]) -> list[float]:
    """In float32, as the logits are; otherwise what ties would differ."""
    factor = np.float32(sampling.repetition_penalty)
    logits = []
    for token, given in enumerate(row):
        logit = np.float32(given)
        if token in PROMPT or said[token]:
            logit = logit / factor if logit > 0 else logit * factor
        if said[token]:
            often = np.float32(sampling.frequency_penalty) * np.float32(said[token])
            logit = logit - (np.float32(sampling.presence_penalty) + often)
        logits.append(float(logit))
    return logits


def kept(sampling: Sampling, logits: list[float]) -> list[tuple[int, float]]:
    """The tokens that may be drawn, likeliest first, with their weights."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if sampling.top_k:
        order = order[: sampling.top_k]
    largest = logits[order[0]]
    weights = [(i, math.exp((logits[i] - largest) / sampling.temperature)) for i in order]
    total = sum(weight for _, weight in weights)
    nucleus, mass = [], 0.0
    for token, weight in weights:
        nucleus.append((token, weight))
        mass += weight / total
        if mass >= sampling.top_p:
            break
    return [(token, weight) for token, weight in nucleus if weight >= sampling.min_p]


def drawn(weights: list[tuple[int, float]], chance: float) -> int:
    left = chance * sum(weight for _, weight in weights)
    for token, weight in weights:
        left -= weight
        if left < 0:
            return token
    return weights[-1][0]


def rows_of(count: int, seed: int = 0) -> list[list[float]]:
    """Logits on a grid of 1/16, so that ties and equal float32 values occur."""
    rng = np.random.default_rng(seed)
    rows: list[list[float]] = (np.round(rng.normal(0, 3, (count, V)) * 16) / 16).tolist()
    return rows


def tokens_of(sampling: Sampling, rows: list[list[float]]) -> list[int]:
    sampler = Sampler(sampling, PROMPT)
    return [sampler.next(np.array(row, np.float32)) for row in rows]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=1.0, seed=1),
        Sampling(temperature=0.3, seed=2),
        Sampling(temperature=2.5, top_k=5, seed=3),
        Sampling(temperature=1.0, top_k=1, seed=3),
        Sampling(temperature=1.0, top_k=V - 1, seed=3),
        Sampling(temperature=1.0, top_k=V + 10, seed=3),
        Sampling(temperature=1.0, top_p=0.9, seed=4),
        Sampling(temperature=3.0, top_p=0.35, seed=5),
        Sampling(temperature=1.0, top_p=1e-9, seed=5),
        Sampling(temperature=1.0, min_p=0.1, seed=6),
        Sampling(temperature=1.0, min_p=1.0, seed=6),
        Sampling(temperature=2.0, top_k=40, top_p=0.95, min_p=0.05, seed=7),
        Sampling(repetition_penalty=1.3),
        Sampling(repetition_penalty=0.5),
        Sampling(presence_penalty=2.5),
        Sampling(frequency_penalty=1.5),
        Sampling(presence_penalty=-1.0, frequency_penalty=-0.5),
        Sampling(
            temperature=1.5,
            top_p=0.8,
            repetition_penalty=1.1,
            presence_penalty=0.5,
            frequency_penalty=0.25,
            seed=8,
        ),
    ],
    ids=lambda s: repr(s).split("(", 1)[1][:60],
)
def test_tokens_are_those_of_the_definitions(sampling: Sampling) -> None:
    """The same row again and again, so that penalties act, and then other rows."""
    rows = rows_of(1, seed=9) * 60 + rows_of(60)
    assert tokens_of(sampling, rows) == slow_tokens(sampling, rows)


def test_greedy_takes_the_first_of_equals_and_needs_no_chance() -> None:
    row = [0.0] * V
    row[40] = row[70] = 2.0
    assert tokens_of(Sampling(seed=1), [row] * 3) == [40] * 3
    assert tokens_of(Sampling(seed=2), [row] * 3) == [40] * 3


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others() -> None:
    rows = rows_of(80)
    first = tokens_of(Sampling(temperature=2.0, seed=11), rows)
    assert tokens_of(Sampling(temperature=2.0, seed=11), rows) == first
    assert tokens_of(Sampling(temperature=2.0, seed=12), rows) != first


def test_without_a_seed_two_samplers_differ() -> None:
    rows = rows_of(80)
    free = Sampling(temperature=3.0)
    assert tokens_of(free, rows) != tokens_of(free, rows)


def test_draws_follow_the_distribution() -> None:
    """20000 draws of four tokens: within five standard deviations of what softmax says."""
    logits = np.array([1.0, 0.0, 2.0, -1.0], np.float32)
    sampler = Sampler(Sampling(temperature=1.0, seed=5), [])
    counts = Counter(sampler.next(logits) for _ in range(20_000))
    weights = np.exp(logits.astype(np.float64))
    for token, share in enumerate(weights / weights.sum()):
        assert abs(counts[token] - 20_000 * share) < 5 * math.sqrt(20_000 * share * (1 - share))


def test_logits_are_left_as_they_are() -> None:
    logits = np.array(rows_of(1)[0], np.float32)
    before = logits.copy()
    sampler = Sampler(
        Sampling(temperature=1.0, repetition_penalty=2.0, frequency_penalty=1.0, seed=1), PROMPT
    )
    for _ in range(5):
        sampler.next(logits)
    assert np.array_equal(logits, before)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_a_parameter_outside_its_range_is_named(name: str, value: object) -> None:
    with pytest.raises(BadSampling) as caught:
        Sampling(**{name: value})  # type: ignore[arg-type]
    error = caught.value
    assert isinstance(error, RequestError)
    assert error.code == "request.bad_sampling"
    assert name in error.message
    assert error.found == repr(value)
    assert error.expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("temperature", 100.0),
        ("top_k", 0),
        ("top_k", 1 << 31),
        ("top_p", 1e-12),
        ("top_p", 1),
        ("min_p", 1.0),
        ("repetition_penalty", 1e-3),
        ("repetition_window", 1 << 31),
        ("presence_penalty", -100),
        ("frequency_penalty", 100.0),
        ("seed", (1 << 64) - 1),
        ("seed", None),
    ],
)
def test_a_parameter_at_its_edge_is_taken(name: str, value: object) -> None:
    sampling = Sampling(**{name: value})  # type: ignore[arg-type]
    assert 0 <= tokens_of(sampling, rows_of(1))[0] < V


def test_every_parameter_has_its_limits_tested() -> None:
    assert {field.name for field in fields(Sampling)} == set(BAD) | {"logit_bias"}


@pytest.mark.parametrize(
    "bias", [((-1, 1.0),), ((5, NAN),), ((5, 101.0),), ((True, 1.0),), ((5, "1"),)], ids=repr
)
def test_a_bias_outside_its_range_is_named(bias: object) -> None:
    with pytest.raises(BadSampling, match="logit_bias"):
        Sampling(logit_bias=bias)  # type: ignore[arg-type]


def test_a_bias_is_added_to_its_logit() -> None:
    row = [0.0] * V
    row[40] = 2.0
    assert tokens_of(Sampling(logit_bias=((40, -3.0), (7, 1.0))), [row]) == [7]
    assert tokens_of(Sampling(logit_bias=((9, 100.0),), temperature=1.0, seed=1), [row]) == [9]


def test_several_answers_of_one_seed_differ_and_repeat() -> None:
    rows = [np.array(row, np.float32) for row in rows_of(40)]

    def tokens(branch: int) -> list[int]:
        sampler = Sampler(Sampling(temperature=2.0, seed=4), PROMPT, branch=branch)
        return [sampler.next(row) for row in rows]

    assert tokens(1) == tokens(1) != tokens(2)
    assert tokens(0) == tokens_of(Sampling(temperature=2.0, seed=4), rows_of(40))


def test_the_repetition_penalty_looks_back_over_its_window() -> None:
    sampler = Sampler(Sampling(repetition_penalty=2.0, repetition_window=2), [0, 1])
    row = np.array([4.0, 3.9, 3.0, 2.5], np.float32)
    # 0 and 1 are halved; then 2 pushes 0 out of the window, which is then the likeliest again.
    assert [sampler.next(row) for _ in range(2)] == [2, 0]
