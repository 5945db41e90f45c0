"""When a training keeps a checkpoint that nobody gave an interval for."""

from __future__ import annotations

import pytest

from freehold.tune.training.checkpoints import Pace


@pytest.mark.parametrize(
    ("steps", "step", "now_s", "due"),
    [
        (10, 1, 0.1, True),
        (100, 4, 50.0, False),
        (100, 5, 0.1, True),
        (10_000, 499, 59.0, False),
        (10_000, 500, 5.0, True),
        (10_000, 3, 61.0, True),
    ],
)
def test_a_crash_costs_a_twentieth_of_the_steps_or_a_minute(
    steps: int, step: int, now_s: float, due: bool
) -> None:
    assert Pace(0, 0.0).is_due(step, steps=steps, now_s=now_s) is due


def test_checkpoints_take_a_twentieth_of_the_time_at_most() -> None:
    after = Pace(step=5, ended_s=100.0, took_s=2.0)
    assert not after.is_due(50, steps=100, now_s=139.0)
    assert after.is_due(50, steps=100, now_s=141.0)


def test_a_step_counts_from_the_last_checkpoint() -> None:
    assert not Pace(step=52, ended_s=0.0).is_due(55, steps=100, now_s=1.0)
    assert Pace(step=52, ended_s=0.0).is_due(57, steps=100, now_s=1.0)
