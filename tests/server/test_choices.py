"""What a choice says does not depend on how its tokens came: stop texts, events, counts."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from freehold.chat.dialects import dialect_of
from freehold.chat.prompts import RenderedPrompt
from freehold.engine.request import Output, TokenLogprob, together
from freehold.server.ask import Ask, Finish, TextDelta, TokenText
from freehold.server.choices import ChoiceStream, StopFinder, collect_choice

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


class Letters:
    """A tokenizer whose tokens are letters; 0 is a special token that nobody sees."""

    def stream(self, **_: object) -> Any:
        return SimpleNamespace(push=lambda token: chr(96 + token), finish=lambda: "")

    def is_special(self, token: int) -> bool:
        return token == 0


def stream_of(stops: list[str]) -> ChoiceStream:
    resident: Any = SimpleNamespace(
        dialect=dialect_of(""),
        reasoning=None,
        shown_specials=frozenset(),
        tokenizer=Letters(),
        token_texts=lambda note: TokenText(note.token, "", b"", note.logprob),
    )
    ask = Ask(model="m", prompt="p", stop=tuple(stops))
    return ChoiceStream(0, resident, ask, RenderedPrompt([1], "", starts_in_reasoning=False))


@given(
    tokens=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    stops=STOPS,
    cuts=st.lists(st.integers(1, 29), max_size=6),
    noted=st.booleans(),
)
def test_tokens_that_come_together_say_the_same(
    tokens: list[int], stops: list[str], cuts: list[int], noted: bool
) -> None:
    outputs = [
        Output(tokens=(token,), logprobs=(TokenLogprob(token, -place / 8),) if noted else ())
        for place, token in enumerate(tokens)
    ]
    outputs[-1] = outputs[-1]._replace(finish_reason="length")
    edges = sorted({0, len(tokens), *(cut for cut in cuts if cut < len(tokens))})
    single, joined = stream_of(stops), stream_of(stops)
    one = [event for output in outputs for event in single.take(output)]
    other = []
    for start, end in pairwise(edges):
        events = joined.take(together(outputs[start:end]))
        other += events
        assert sum(isinstance(event, TextDelta) for event in events) <= 2  # the last, its notes
    assert collect_choice(0, other) == collect_choice(0, one)
    assert joined.tokens == single.tokens <= len(tokens)
    assert isinstance(other[-1], Finish)
