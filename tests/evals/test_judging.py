"""A judging model is asked in both orders, and its bias for a place is told."""

from __future__ import annotations

import pytest

from freehold.errors import BadTask, NotComparable
from freehold.evals import Pair, Result, run_task
from freehold.evals.bayes import text_of
from freehold.evals.items import Task
from freehold.evals.judging import judge_pairs, rubric_scorer
from tests.evals.scripted_target import DATA, ScriptedTarget, choice_task, echo_task


def judge_by_length(pair: Pair) -> float:
    """Prefers the longer answer, wherever it stands."""
    text = text_of(pair.prompt)
    a, b = text.split("Answer A:\n")[1].split("\n\nAnswer B:\n")
    b = b.split("\n\nWhich")[0]
    best = "A" if len(a) > len(b) else "B" if len(b) > len(a) else "C"
    return 0.0 if pair.continuation == best else -5.0


def two(task: Task) -> tuple[Result, Result]:
    short = run_task(task, ScriptedTarget(lambda _: "no", name="short"))
    long = run_task(task, ScriptedTarget(lambda p: f"{p} at length", name="long"))
    return short, long


def test_a_fair_judge_decides_each_pair_once() -> None:
    task = echo_task(12)
    short, long = two(task)
    found = judge_pairs(task, short, long, ScriptedTarget(nats=judge_by_length, name="judge"))
    assert (found.wins, found.losses, found.ties, found.flips) == (12, 0, 0, 0)
    assert (found.rate.value, found.first_place.value) == (1.0, 0.5)
    assert found.verdict == "better"
    assert not found.biased


def test_a_judge_that_prefers_a_place_makes_ties_and_is_called_biased() -> None:
    task = echo_task(12)
    short, long = two(task)
    judge = ScriptedTarget(nats=lambda pair: 0.0 if pair.continuation == "A" else -1.0)
    found = judge_pairs(task, short, long, judge)
    assert (found.wins, found.losses, found.ties, found.flips) == (0, 0, 12, 12)
    assert found.first_place.value == 1.0
    assert found.biased
    assert found.verdict == "no difference shown"


def test_answers_that_are_alike_are_a_tie_without_a_place() -> None:
    task = echo_task(4)
    _, long = two(task)
    found = judge_pairs(task, long, long, ScriptedTarget(nats=judge_by_length))
    assert (found.ties, found.flips) == (4, 0)
    assert found.as_dict()["first_place"]["value"] is None


def test_a_rubric_gives_the_expected_mark() -> None:
    def marks(pair: Pair) -> float:
        return 0.0 if pair.continuation in "45" else -50.0  # half 4, half 5

    scorer = rubric_scorer(ScriptedTarget(nats=marks), "Is it polite?")
    base = echo_task(3)
    task = Task(
        name="polite",
        items=base.items,
        asks="answer",
        metrics=scorer.metrics,
        main="rubric",
        data=DATA,
        scorers=(scorer,),
    )
    found = run_task(task, ScriptedTarget())
    assert found.estimate.value == pytest.approx(0.875)
    assert found.items[0].details["says"] == ["mark 4.50"]


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(BadTask):
        rubric_scorer(ScriptedTarget(), "  ")
    chosen = run_task(choice_task(), ScriptedTarget())
    with pytest.raises(NotComparable):
        judge_pairs(choice_task(), chosen, chosen, ScriptedTarget())
    huge = run_task(echo_task(1), ScriptedTarget(lambda _: "x" * 20_000))
    with pytest.raises(BadTask, match="too long"):
        judge_pairs(echo_task(1), huge, huge, ScriptedTarget())
