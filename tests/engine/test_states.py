"""Slots of recurrent states: whoever goes on from a snapshot finds the state of just those tokens.

The pool is a list in which a state is the text it has taken in: a wrong one is seen at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.engine.pages import PageList, Sequence
from freehold.engine.scheduler import Budget, Entry, Scheduler
from freehold.engine.states import StateList
from freehold.errors import OutOfPages

SIZE = 4  # tokens of a page


@dataclass
class Texts:
    """Pages with states, and what each slot has taken in."""

    slots: int
    pages_count: int = 64
    taken: dict[int, tuple[int, ...]] = field(default_factory=dict)
    copies: int = 0

    def __post_init__(self) -> None:
        self.states = StateList(self.slots, self.copy)
        self.pages = PageList(self.pages_count, SIZE, self.states)

    def copy(self, source: int, target: int) -> None:
        assert source != target
        self.taken[target] = self.taken[source]
        self.copies += 1

    def begin(self, text: list[int], scope: str = "") -> Sequence:
        """A sequence on what is remembered of the text, which its state must hold exactly."""
        sequence = self.pages.match(text, scope)
        try:
            self.pages.seat(sequence)
        except OutOfPages:
            self.pages.release(sequence)
            raise
        assert sequence.slot is not None
        if sequence.length == 0:
            self.taken[sequence.slot] = ()  # as a first token does
        assert self.taken[sequence.slot] == tuple(text[: sequence.length])
        return sequence

    def run(self, sequence: Sequence, text: list[int], count: int) -> None:
        """The next `count` tokens of the text, then what is worth remembering."""
        end = min(sequence.length + count, len(text))
        self.pages.extend(sequence, end)
        assert sequence.slot is not None
        self.taken[sequence.slot] += tuple(text[sequence.length : end])
        sequence.length = end
        self.pages.remember(sequence, text)

    def check(self, sequences: list[Sequence]) -> None:
        self.pages.check()
        held = [sequence.slot for sequence in sequences if sequence.slot is not None]
        self.states.check(held)


def test_a_second_turn_goes_on_from_the_last_page_of_the_first() -> None:
    texts = Texts(slots=4)
    prompt = list(range(18))
    first = texts.begin(prompt)
    texts.run(first, prompt, 16)
    texts.run(first, prompt, 2)
    answer = [*prompt, *range(100, 110)]
    for end in range(19, 29):
        texts.run(first, answer[:end], 1)
    texts.pages.release(first)
    second = texts.begin([*answer, 7, 7, 7])
    assert second.length == 28  # the last whole page of the answer
    again = texts.begin([*prompt, 8])
    assert again.length == 16  # the prompt asked again, answered otherwise
    texts.check([second, again])


def test_a_prefix_is_shared_up_to_its_last_snapshot_only() -> None:
    """Its pages are there further on, but no state that fits them."""
    texts = Texts(slots=3)
    text = list(range(14))
    first = texts.begin(text)
    texts.run(first, text, 9)  # past a page's end, none of which it saw
    texts.run(first, text, 3)
    texts.run(first, text, 2)
    assert texts.begin(list(range(10))).length == 0
    assert texts.begin([*range(13)]).length == 12


def test_scopes_never_meet() -> None:
    texts = Texts(slots=4)
    text = list(range(9))
    first = texts.begin(text, "a")
    texts.run(first, text, 8)
    assert texts.begin(text, "b").length == 0
    assert texts.begin(text, "a").length == 8


def test_those_who_run_come_before_snapshots() -> None:
    """Snapshots go, the one unused longest first, until sequences have all slots."""
    texts = Texts(slots=3)
    for start in (0, 50):
        text = list(range(start, start + 5))
        sequence = texts.begin(text)
        texts.run(sequence, text, 4)
        texts.pages.release(sequence)
    assert (texts.states.num_snapshots, texts.states.num_slots_free) == (2, 3)
    held = [texts.begin([9] * 5), texts.begin([8] * 5)]
    assert texts.states.num_snapshots == 1
    held.append(texts.begin(list(range(50, 55))))
    assert held[-1].length == 4, "the younger snapshot was kept, and moved in"
    assert texts.states.num_snapshots == 0
    assert not texts.pages.has_slot
    with pytest.raises(OutOfPages, match="state of one more sequence"):
        texts.begin([7] * 5)
    texts.check(held)


def test_a_snapshot_in_the_last_slot_is_not_copied() -> None:
    texts = Texts(slots=2)
    text = list(range(5))
    first = texts.begin(text)
    texts.run(first, text, 4)
    copies = texts.copies
    second = texts.begin(text)
    assert (second.length, texts.copies, texts.states.num_snapshots) == (4, copies, 0)
    assert second.slot != first.slot


def test_early_parts_of_a_long_prompt_push_nothing_out() -> None:
    texts = Texts(slots=3)
    for start, count in ((0, 5), (100, 41)):
        text = list(range(start, start + count))
        sequence = texts.begin(text)
        for _ in range(0, count, SIZE):
            texts.run(sequence, text, SIZE)
        texts.pages.release(sequence)
    assert texts.states.num_snapshots == 2
    assert texts.begin(list(range(5))).length == 4
    assert texts.begin(list(range(100, 141))).length == 40


def test_an_answer_keeps_its_last_snapshot_before_its_earlier_ones() -> None:
    texts = Texts(slots=4)
    text = list(range(5))
    sequence = texts.begin(text)
    texts.run(sequence, text, 4)
    texts.run(sequence, text, 1)
    for end in range(6, 22):
        texts.run(sequence, list(range(end)), 1)
    texts.pages.release(sequence)
    assert texts.states.num_snapshots == 3
    held = [texts.begin([9] * 5)]
    for text, length in ((list(range(22)), 20), (list(range(5)), 4)):
        held.append(texts.begin(text))
        assert held[-1].length == length
    texts.check(held)


OPERATIONS = st.lists(
    st.tuples(st.sampled_from("bbrrrrx"), st.integers(0, 4), st.integers(1, 9)), max_size=80
)


@settings(max_examples=300, deadline=None)
@given(slots=st.integers(1, 5), pages=st.integers(3, 14), operations=OPERATIONS)
def test_states_fit_their_texts_under_any_operations(
    slots: int, pages: int, operations: list[tuple[str, int, int]]
) -> None:
    """Texts begin alike and part, so that they share, push out and forget."""
    texts = Texts(slots, pages)
    running: dict[int, tuple[Sequence, list[int]]] = {}
    for action, which, amount in operations:
        text = [1] * (3 * which + 2) + [which] * 20
        if action == "b" and which not in running and texts.pages.has_slot:
            running[which] = (texts.begin(text), text)
        elif action == "r" and which in running:
            sequence, known = running[which]
            if len(sequence.pages) + texts.pages.num_pages_free > len(known) // SIZE:
                texts.run(sequence, known, amount)
        elif action == "x" and which in running:
            texts.pages.release(running.pop(which)[0])
        texts.check([sequence for sequence, _ in running.values()])
        for sequence, known in running.values():
            assert sequence.slot is not None
            assert texts.taken[sequence.slot] == tuple(known[: sequence.length])


def plan_of(scheduler: Scheduler, tokens: int) -> list[tuple[str, int]]:
    """A step as (entry, tokens), done at once."""
    planned = scheduler.plan(Budget(tokens, tokens))
    for entry, count in planned:
        entry.sequence.length += count
        scheduler.pages.remember(entry.sequence, entry.known)
    return [(entry.id, count) for entry, count in planned]


def test_chunks_end_where_pages_end() -> None:
    """All but the last, which is what is left after the prompt's last whole page."""
    states = StateList(4, lambda _source, _target: None)
    scheduler = Scheduler(PageList(64, SIZE, states), max_running=4, max_waiting=9)
    scheduler.add(Entry("a", "", list(range(27))))
    steps = [plan_of(scheduler, 11) for _ in range(4)]
    assert steps == [[("a", 8)], [("a", 8)], [("a", 8)], [("a", 3)]]
    scheduler.add(Entry("b", "", list(range(24))))
    steps = [plan_of(scheduler, 40) for _ in range(2)]
    assert steps[0][-1] == ("b", 4), "twenty tokens came from a"
    assert states.num_snapshots > 0


def test_a_prompt_whose_logits_are_wanted_is_not_cut_at_pages() -> None:
    states = StateList(4, lambda _source, _target: None)
    scheduler = Scheduler(PageList(64, SIZE, states), max_running=4, max_waiting=9)
    scheduler.add(Entry("a", "", list(range(27)), shares_prefix=False))
    assert scheduler.plan(Budget(11, 11))[0][1] == 11


def test_nobody_is_admitted_without_a_slot() -> None:
    states = StateList(2, lambda _source, _target: None)
    scheduler = Scheduler(PageList(64, SIZE, states), max_running=9, max_waiting=9)
    entries = [Entry(name, "", [ord(name)] * 6) for name in "abc"]
    for entry in entries:
        scheduler.add(entry)
    assert {name for name, _ in plan_of(scheduler, 40)} == {"a", "b"}
    assert (len(scheduler.running), scheduler.num_waiting) == (2, 1)
    scheduler.remove(entries[0])
    assert {name for name, _ in plan_of(scheduler, 40)} >= {"c"}
