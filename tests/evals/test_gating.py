"""A name stands for another model only when the record shows that it may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from freehold.errors import NotProven
from freehold.evals.gating import evidence_for
from freehold.library.record import record_evaluated
from freehold.store import Events, open_store

OLD, NEW, DATA, OTHER = (f"sha256:{letter * 64}" for letter in "abcd")


@pytest.fixture
def events(home: Path) -> Iterator[Events]:
    store = open_store(None, home)
    yield store.events
    store.close()


def measured(
    events: Events, model: str, right: Sequence[int], *, task: str = "t", data: str = DATA
) -> None:
    """An evaluation in the record, as a run of it is kept there."""
    run = {
        "task": task,
        "task_digest": f"digest of {task}",
        "data": {"digest": data},
        "main": "exact",
        "metric": {"name": "exact", "kind": "share", "about": "", "over": ""},
        "metrics": {
            "exact": {"value": 0.5, "low": 0.4, "high": 0.6, "n": len(right), "method": "wilson"}
        },
        "values": [float(value) for value in right],
        "refused": {},
    }
    record_evaluated(events, model, name=model[:10], dataset=data, run=run)


def test_a_model_that_nobody_measured_is_not_promoted(events: Events) -> None:
    with pytest.raises(NotProven, match="nothing on record says how good"):
        evidence_for(events, candidate=NEW, current=None, trained_on=())


def test_what_it_was_trained_on_does_not_count(events: Events) -> None:
    measured(events, NEW, [1] * 20)
    with pytest.raises(NotProven, match="training data only"):
        evidence_for(events, candidate=NEW, current=None, trained_on=[DATA])


def test_the_first_of_a_name_needs_an_evaluation_of_its_own(events: Events) -> None:
    measured(events, NEW, [1] * 20)
    evidence = evidence_for(events, candidate=NEW, current=None, trained_on=[OTHER])
    assert evidence.verdict == "first"
    assert evidence.as_dict()["evaluations"][0]["event"] == 1


def test_both_must_have_been_asked_the_same(events: Events) -> None:
    measured(events, NEW, [1] * 20)
    measured(events, OLD, [0] * 20, task="another")
    with pytest.raises(NotProven, match="none in common"):
        evidence_for(events, candidate=NEW, current=OLD, trained_on=())


@pytest.mark.parametrize(
    ("new", "verdict"),
    [([1] * 20, "better"), ([0] * 20, "worse"), ([1, 0] * 10, "no difference shown")],
)
def test_they_are_compared_item_by_item(events: Events, new: list[int], verdict: str) -> None:
    measured(events, OLD, [0, 1] * 10)
    measured(events, NEW, new)
    evidence = evidence_for(events, candidate=NEW, current=OLD, trained_on=())
    assert evidence.verdict == verdict
    (compared,) = evidence.as_dict()["comparisons"]
    assert (compared["task"], compared["verdict"]) == ("t", verdict)


def test_worse_on_one_task_is_not_made_up_for_by_another(events: Events) -> None:
    for task, old, new in (("a", [0] * 20, [1] * 20), ("b", [1] * 20, [0] * 20)):
        measured(events, OLD, old, task=task)
        measured(events, NEW, new, task=task)
    assert evidence_for(events, candidate=NEW, current=OLD, trained_on=()).verdict == "worse"


def test_the_latest_evaluation_counts(events: Events) -> None:
    measured(events, OLD, [0] * 20)
    measured(events, NEW, [0] * 20)
    measured(events, NEW, [1] * 20)
    assert evidence_for(events, candidate=NEW, current=OLD, trained_on=()).verdict == "better"
