"""Pages: no page is held twice, none is lost, and a refusal leaves all as it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.engine.pages import PageList, Sequence
from freehold.errors import CapacityError, OutOfPages

MANY = 5  # sequences
# (sequence, tokens) extends; (sequence, None) releases.
OPERATIONS = st.lists(
    st.tuples(st.integers(0, MANY - 1), st.none() | st.integers(0, 700)), max_size=60
)


def assert_whole(pages: PageList, sequences: list[Sequence]) -> None:
    """Every page is either free or with one sequence."""
    held = [page for sequence in sequences for page in sequence.pages]
    assert len(held) == len(set(held))
    assert set(held) <= set(range(pages.count))
    assert pages.num_pages_free == pages.count - len(held)


@settings(max_examples=200, deadline=None)
@given(count=st.integers(1, 30), page_tokens=st.integers(1, 64), operations=OPERATIONS)
def test_pages_stay_whole_under_any_operations(
    count: int, page_tokens: int, operations: list[tuple[int, int | None]]
) -> None:
    pages = PageList(count, page_tokens)
    sequences = [Sequence() for _ in range(MANY)]
    for which, length in operations:
        sequence = sequences[which]
        before = [list(s.pages) for s in sequences]
        free = pages.num_pages_free
        if length is None:
            pages.release(sequence)
            assert (sequence.pages, sequence.length) == ([], 0)
        else:
            wanted = -(-length // page_tokens) - len(sequence.pages)
            if wanted > free:
                with pytest.raises(OutOfPages):
                    pages.extend(sequence, length)
                assert [s.pages for s in sequences] == before
                assert pages.num_pages_free == free
            else:
                pages.extend(sequence, length)
                assert sequence.pages[: len(before[which])] == before[which]
                assert len(sequence.pages) * page_tokens >= length
                assert len(sequence.pages) == len(before[which]) + max(wanted, 0)
        others = [s.pages for s in sequences if s is not sequence]
        assert others == [b for s, b in zip(sequences, before, strict=True) if s is not sequence]
        assert_whole(pages, sequences)
    for sequence in sequences:
        pages.release(sequence)
    everything = Sequence()
    pages.extend(everything, count * page_tokens)
    assert sorted(everything.pages) == list(range(count))


def test_a_sequence_holds_no_page_more_than_its_tokens_need() -> None:
    pages, sequence = PageList(4, 64), Sequence()
    for length, held in ((0, 0), (1, 1), (64, 1), (65, 2), (65, 2), (256, 4)):
        pages.extend(sequence, length)
        assert len(sequence.pages) == held


def test_out_of_pages_says_what_was_wanted_and_what_is_left() -> None:
    pages, sequence = PageList(4, 64), Sequence()
    pages.extend(sequence, 100)
    with pytest.raises(OutOfPages) as caught:
        pages.extend(sequence, 64 * 5)
    error = caught.value
    assert isinstance(error, CapacityError)
    assert error.code == "capacity.out_of_pages"
    assert (error.value, error.found) == (320, "3 wanted")
    assert "2 more pages of 64 tokens" in error.expected


def test_releasing_twice_is_harmless() -> None:
    pages, sequence = PageList(4, 64), Sequence()
    pages.extend(sequence, 200)
    pages.release(sequence)
    pages.release(sequence)
    assert pages.num_pages_free == 4


class Memory:
    """Pages of tokens in place of keys and values: what was computed or copied can be read."""

    def __init__(self, count: int, size: int) -> None:
        self.rows: list[list[int | None]] = [[None] * size for _ in range(count)]
        self.pages = PageList(count, size, copy=self.copy)

    def copy(self, source: int, target: int) -> None:
        self.rows[target] = list(self.rows[source])

    def begin(self, text: list[int], scope: str) -> Sequence:
        sequence = self.pages.match(text, scope)
        self.pages.borrow(sequence, text)
        return sequence

    def compute(self, sequence: Sequence, text: list[int]) -> None:
        size = self.pages.page_tokens
        self.pages.extend(sequence, len(text))
        for at in range(sequence.length, len(text)):
            self.rows[sequence.pages[at // size]][at % size] = text[at]
        sequence.length = len(text)
        self.pages.remember(sequence, text)

    def read(self, sequence: Sequence) -> list[int | None]:
        rows = [token for page in sequence.pages for token in self.rows[page]]
        return rows[: sequence.length]

    def end(self, sequence: Sequence, text: list[int]) -> None:
        self.pages.remember_end(sequence, text)
        self.pages.release(sequence)
        self.pages.check()


SMALL_TEXTS = st.lists(st.integers(0, 1), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(5, 9),
    size=st.sampled_from([8, 9]),
    texts=st.lists(st.tuples(SMALL_TEXTS, st.sampled_from("ab")), max_size=30),
)
def test_what_a_sequence_begins_with_is_its_own_text(
    count: int, size: int, texts: list[tuple[list[int], str]]
) -> None:
    memory = Memory(count, size)
    for text, scope in texts:
        sequence = memory.begin(text, scope)
        assert sequence.length < len(text)
        assert memory.read(sequence) == text[: sequence.length]
        memory.compute(sequence, text)
        assert memory.read(sequence) == text
        memory.end(sequence, text)


@pytest.mark.parametrize(("common", "borrowed"), [(3, 0), (4, 4), (18, 16), (22, 22), (23, 22)])
def test_a_text_goes_on_where_it_parts_from_an_earlier_one(common: int, borrowed: int) -> None:
    memory = Memory(8, 8)
    earlier = list(range(100, 123))
    sequence = memory.begin(earlier, "a")
    memory.compute(sequence, earlier)
    memory.end(sequence, earlier)
    later = earlier[:common] + ([7] * 5 if common < 23 else [])
    assert memory.begin(later, "a").length == borrowed
    assert memory.begin(later, "b").length == 0


def test_without_a_way_to_copy_only_whole_pages_are_shared() -> None:
    pages, text = PageList(4, 8), list(range(20))
    sequence = pages.match(text, "a")
    pages.extend(sequence, 20)
    sequence.length = 20
    pages.remember(sequence, text)
    pages.remember_end(sequence, text)
    pages.release(sequence)
    assert pages.num_pages_free == 4
    again = pages.match(text, "a")
    pages.borrow(again, text)
    assert again.length == 16
