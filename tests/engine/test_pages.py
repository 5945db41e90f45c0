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
