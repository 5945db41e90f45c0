"""A task is run item by item, goes on where it stopped, and its results can be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.errors import BadTask, NotComparable, PromptTooLong, TargetFailed
from freehold.evals import (
    Item,
    Metric,
    Task,
    compare,
    compare_recorded,
    evaluations_of,
    record_result,
    run_task,
)
from freehold.library.record import open_record
from tests.evals.scripted_target import DATA, DIGEST, ScriptedTarget, choice_task, echo_task


def test_every_answer_is_judged() -> None:
    found = run_task(echo_task(4), ScriptedTarget(lambda p: "p1" if p == "p2" else str(p)))
    assert [item.values["exact"] for item in found.items] == [1, 1, 0, 1]
    assert found.estimate.value == 0.75
    assert not found.partial


def test_a_choice_is_taken_as_it_is_and_by_its_length() -> None:
    found = run_task(
        choice_task(), ScriptedTarget(nats=lambda pair: -2.0 - 0.1 * len(pair.continuation))
    )
    assert [item.values for item in found.items] == [
        {"acc": 1.0, "acc_norm": 0.0},
        {"acc": 0.0, "acc_norm": 1.0},
    ]


def test_a_text_has_a_perplexity_by_token_byte_and_word() -> None:
    metrics = tuple(
        Metric(name=name, kind="perplexity", over=over)
        for name, over in (("perplexity", "tokens"), ("byte_perplexity", "bytes"))
    )
    items = [Item(id="0", prompt="grün")]
    task = Task(name="t", items=items, asks="text", metrics=metrics, main="perplexity", data=DATA)
    found = run_task(task, ScriptedTarget())
    assert found.items[0].values["bytes"] == 5
    assert found.estimate.value == pytest.approx(2.718281828**0.5)


def test_an_item_that_was_refused_counts_as_wrong_and_is_told() -> None:
    def answer(prompt: object) -> str | PromptTooLong:
        return PromptTooLong("too long") if prompt == "p0" else str(prompt)

    found = run_task(echo_task(4), ScriptedTarget(answer))
    assert found.estimate.value == 0.75
    assert found.refused == {"request.prompt_too_long": 1}


def test_a_run_that_broke_goes_on_where_it_stopped(tmp_path: Path) -> None:
    keep = tmp_path / "run" / "items.jsonl"

    def breaks(prompt: object) -> str:
        if prompt == "p40":
            raise TargetFailed("gone")
        return str(prompt)

    with pytest.raises(TargetFailed):
        run_task(echo_task(64), ScriptedTarget(breaks), keep=keep)
    again = ScriptedTarget()
    found = run_task(echo_task(64), again, keep=keep)
    assert again.asked == [f"p{i}" for i in range(32, 64)]
    assert found.estimate.n == 64


def test_a_line_that_was_cut_off_is_measured_again(tmp_path: Path) -> None:
    keep = tmp_path / "items.jsonl"
    whole = run_task(echo_task(3), ScriptedTarget(), keep=keep)
    keep.write_bytes(keep.read_bytes()[:-9])
    again = ScriptedTarget()
    assert run_task(echo_task(3), again, keep=keep) == whole
    assert again.asked == ["p2"]
    assert [json.loads(line)["id"] for line in keep.read_text().splitlines()[1:]] == [*"012"]


def test_items_of_another_model_or_task_are_not_gone_on_with(tmp_path: Path) -> None:
    keep = tmp_path / "items.jsonl"
    run_task(echo_task(3), ScriptedTarget(), keep=keep)
    with pytest.raises(NotComparable):
        run_task(echo_task(3), ScriptedTarget(name="another"), keep=keep)
    with pytest.raises(NotComparable):
        run_task(echo_task(4), ScriptedTarget(), keep=keep)


def test_a_run_that_was_stopped_says_that_it_is_partial() -> None:
    found = run_task(echo_task(9), ScriptedTarget(), should_stop=lambda: True)
    assert found.partial
    assert len(found.items) == 1


def test_progress_counts_items_up_to_all_of_them() -> None:
    seen: list[tuple[str, int, int]] = []
    run_task(echo_task(3), ScriptedTarget(), progress=lambda *told: seen.append(told))
    assert seen == [("items", i, 3) for i in range(4)]


def test_two_models_are_compared_over_the_same_items_only() -> None:
    task = echo_task(40)
    bad = run_task(task, ScriptedTarget(lambda _: "", name="bad"))
    good = run_task(task, ScriptedTarget(name="good"))
    found = compare(bad, good)
    assert (found.verdict, found.difference.wins) == ("better", 40)
    assert compare(good, bad).verdict == "worse"
    assert compare(good, good).verdict == "no difference shown"
    with pytest.raises(NotComparable):
        compare(bad, run_task(echo_task(41), ScriptedTarget()))


def test_groups_are_reported_apart() -> None:
    items = [
        Item(id=str(i), prompt=f"p{i}", references=(f"p{i % 3}",), group="ab"[i % 2])
        for i in range(6)
    ]
    base = echo_task(1)
    task = Task(
        name="g",
        items=items,
        asks="answer",
        metrics=base.metrics,
        main="exact",
        data=DATA,
        scorers=base.scorers,
    )
    groups = run_task(task, ScriptedTarget()).groups()
    assert {name: (round(found.value, 3), found.n) for name, found in groups.items()} == {
        "a": (0.667, 3),
        "b": (0.333, 3),
    }


def test_the_record_keeps_enough_to_compare_again() -> None:
    task, settings = echo_task(40), resolve_settings()
    bad = run_task(task, ScriptedTarget(lambda p: str(p) if str(p) < "p2" else "", name="bad"))
    good = run_task(task, ScriptedTarget(name="good"))
    with open_record(settings) as events:
        record_result(events, bad)
        event = record_result(events, good, by={"threads": 2})
        first, second = evaluations_of(events, DIGEST)
    assert event.parents == (DATA.digest,)
    assert second.estimate == good.estimate
    assert compare_recorded(first, second) == compare(bad, good)


def test_a_partial_run_does_not_go_into_the_record() -> None:
    part = run_task(echo_task(9), ScriptedTarget(), should_stop=lambda: True)
    with open_record(resolve_settings()) as events:
        with pytest.raises(NotComparable):
            record_result(events, part)
        assert events.all() == ()


def test_a_task_without_items_or_with_one_twice_is_refused() -> None:
    with pytest.raises(BadTask):
        echo_task(0)
    item = Item(id="same")
    base = echo_task(1)
    with pytest.raises(BadTask):
        Task(
            name="n", items=[item, item], asks="answer", metrics=base.metrics, main="exact",
            data=DATA,
        )  # fmt: skip
