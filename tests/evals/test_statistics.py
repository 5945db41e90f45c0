"""Intervals and tests agree with what is published or can be counted out."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.evals.statistics import (
    mcnemar,
    mean_estimate,
    paired_difference,
    ratio_estimate,
    share_estimate,
)


@pytest.mark.parametrize(
    ("passed", "n", "low", "high"),
    [
        # Newcombe 1998, table I: method 3, the score interval without correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(
    passed: int, n: int, low: float, high: float
) -> None:
    found = share_estimate(passed, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.value == passed / n


@given(st.integers(0, 60), st.integers(0, 60))
def test_wilsons_interval_holds_the_share_and_stays_within_bounds(a: int, b: int) -> None:
    passed, n = min(a, b), max(a, b)
    if n:
        found = share_estimate(passed, n)
        assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 1), (3, 3), (0, 9), (7, 2)])
def test_mcnemar_counts_every_way_the_coins_can_fall(wins: int, losses: int) -> None:
    n = wins + losses
    as_extreme = sum(
        max(sum(coins), n - sum(coins)) >= max(wins, losses) for coins in product((0, 1), repeat=n)
    )
    assert mcnemar(wins, losses) == pytest.approx(min(1.0, as_extreme / 2**n))


def test_mcnemar_of_many_items_is_no_overflow() -> None:
    assert 0 < mcnemar(4800, 5200) < 0.001


def test_a_means_interval_shrinks_with_the_root_of_the_count() -> None:
    few = mean_estimate([0.0, 1.0] * 20)
    many = mean_estimate([0.0, 1.0] * 2000)
    assert few.high - few.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(40), rel=0.1)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(10, rel=0.1)


def test_a_perplexity_weighs_items_by_their_tokens() -> None:
    found = ratio_estimate([10.0, 1.0], [10.0, 10.0])
    assert found.value == pytest.approx(math.exp(11 / 20))
    assert found.low <= found.value <= found.high


def test_few_items_are_called_few() -> None:
    assert share_estimate(1, 29).few
    assert not share_estimate(1, 30).few
    assert mean_estimate([1.0]).few


def test_the_same_items_give_the_same_interval_again() -> None:
    values = [0.1 * i for i in range(50)]
    assert mean_estimate(values) == mean_estimate(values)


def test_right_and_wrong_are_compared_by_mcnemar_and_scores_by_drawing() -> None:
    before, after = [0.0] * 10, [1.0] * 6 + [0.0] * 4
    found = paired_difference(before, after)
    assert (found.method, found.wins, found.losses, found.ties) == ("mcnemar", 6, 0, 4)
    assert found.p == mcnemar(6, 0)
    assert found.value == pytest.approx(0.6)
    scores = paired_difference([0.5] * 40, [0.7] * 40)
    assert scores.method == "bootstrap"
    assert scores.low == pytest.approx(0.2)
    assert scores.p <= 0.002


def test_two_models_that_are_alike_show_no_difference() -> None:
    found = paired_difference([0.0, 1.0] * 50, [1.0, 0.0] * 50)
    assert found.p == 1.0
    assert found.low < 0 < found.high


def test_nothing_measured_is_not_a_number() -> None:
    assert math.isnan(share_estimate(0, 0).value)
    assert mean_estimate([]).as_dict()["value"] is None
