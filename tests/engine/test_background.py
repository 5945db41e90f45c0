"""The background takes what others leave, and gives way at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from freehold.engine.pages import PageList
from freehold.engine.scheduler import Budget, Entry, Scheduler
from freehold.errors import QueueFull

BUDGET = Budget(mixed_tokens=32, alone_tokens=256)


@dataclass
class Desk:
    """A schedule, and what its steps computed."""

    pages: int = 64
    max_running: int = 8
    max_waiting: int = 8
    steps: list[dict[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(
            PageList(self.pages, 4), max_running=self.max_running, max_waiting=self.max_waiting
        )

    def add(self, name: str, length: int = 8, *, background: bool = False) -> Entry:
        entry = Entry(
            id=name, owner=name, known=[0] * length, background=background, shares_prefix=False
        )
        self.scheduler.add(entry)
        return entry

    def step(self) -> dict[str, int]:
        planned = self.scheduler.plan(BUDGET)
        for entry, count in planned:
            entry.sequence.length += count
            if not entry.pending:
                entry.known.append(0)
        self.steps.append({entry.id: count for entry, count in planned})
        return self.steps[-1]


def test_the_background_runs_while_nobody_else_is_here() -> None:
    desk = Desk()
    desk.add("b", background=True)
    assert desk.step() == {"b": 8}
    assert desk.step() == {"b": 1}


def test_whoever_comes_has_the_next_step_to_themselves() -> None:
    desk = Desk()
    desk.add("b", background=True)
    desk.step()
    front = desk.add("f")
    assert [desk.step(), desk.step()] == [{"f": 8}, {"f": 1}]
    desk.scheduler.remove(front)
    assert desk.step() == {"b": 1}


def test_the_background_does_not_start_beside_others() -> None:
    desk = Desk()
    desk.add("f")
    desk.step()
    desk.add("b", background=True)
    assert desk.step() == {"f": 1}


def test_a_background_prompt_takes_short_steps() -> None:
    desk = Desk()
    desk.add("b", 100, background=True)
    assert desk.step() == {"b": BUDGET.mixed_tokens}
    desk = Desk()
    desk.add("f", 100)
    assert desk.step() == {"f": 100}


def test_the_background_gives_up_its_pages_and_goes_on_later() -> None:
    desk = Desk(pages=6)
    back = desk.add("b", 16, background=True)
    desk.step()
    front = desk.add("f", 16)
    assert desk.step() == {"f": 16}
    assert (back.sequence.length, desk.scheduler.num_preempted) == (0, 1)
    desk.scheduler.remove(front)
    assert desk.step() == {"b": 17}


def test_the_background_gives_up_its_place() -> None:
    desk = Desk(max_running=1)
    desk.add("b", background=True)
    desk.step()
    desk.add("f")
    assert desk.step() == {"f": 8}


def test_an_answer_that_grows_takes_pages_of_the_background_first() -> None:
    desk = Desk(pages=6)
    desk.add("old", 7)
    desk.step()
    desk.add("young", 7)
    desk.step()
    back = Entry(id="b", owner="b", known=[0] * 4, background=True, shares_prefix=False)
    desk.scheduler.running.append(back)
    desk.scheduler.pages.extend(back.sequence, 4)
    back.sequence.length = 4
    for _ in range(4):
        desk.step()
    assert back.sequence.pages == []
    assert {entry.id for entry in desk.scheduler.running} == {"old", "young"}


def test_the_background_does_not_fill_the_queue_of_others() -> None:
    desk = Desk(max_running=1, max_waiting=1)
    desk.add("b1", background=True)
    desk.step()
    desk.add("b2", background=True)
    with pytest.raises(QueueFull):
        desk.add("b3", background=True)
    desk.add("f1")
    desk.add("f2")
    with pytest.raises(QueueFull):
        desk.add("f3")
