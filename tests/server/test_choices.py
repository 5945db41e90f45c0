"""Stop texts: found wherever they are cut, and nothing of them is ever let through."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from freehold.server.choices import StopFinder

TEXTS = st.text(alphabet="abc", max_size=30)
STOPS = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


def expected(text: str, stops: list[str]) -> str:
    """The text up to where the first stop text is complete, less the longest that ends there."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))]
    return text


@example(text="abc", stops=["abc", "b"], cuts=[1, 2])
@given(text=TEXTS, stops=STOPS, cuts=st.lists(st.integers(0, 30), max_size=6))
def test_the_cuts_do_not_matter(text: str, stops: list[str], cuts: list[int]) -> None:
    whole = StopFinder(stops)
    one = whole.push(text) + whole.finish()
    edges = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    finder, said = StopFinder(stops), ""
    for start, end in pairwise(edges):
        said += finder.push(text[start:end])
    said += finder.finish()
    assert said == one == expected(text, stops)
    assert finder.found == whole.found


@given(text=TEXTS, stops=STOPS)
def test_nothing_of_a_stop_text_gets_through(text: str, stops: list[str]) -> None:
    finder, said = StopFinder(stops), ""
    for character in text:
        said += finder.push(character)
    said += finder.finish()
    assert not any(stop in said for stop in stops)
    assert text.startswith(said)
    assert (finder.found is not None) == any(stop in text for stop in stops)
