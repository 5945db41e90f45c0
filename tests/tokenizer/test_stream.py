"""Text appears as soon as it is whole, and all of it is what decoding at once gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.tokenizer import TextStream, Tokenizer, tokenizer_from_gguf
from tests.tokenizer import vocabularies as toy

BYTE_LEVEL = tokenizer_from_gguf(toy.byte_level())
SENTENCE_PIECE = tokenizer_from_gguf(toy.sentence_piece())
KINDS = pytest.mark.parametrize(
    "tokenizer", [BYTE_LEVEL, SENTENCE_PIECE], ids=["byte_level", "sentence_piece"]
)


def pieces(tokenizer: Tokenizer, ids: list[int], *, skip_special: bool = True) -> list[str]:
    stream = tokenizer.stream(skip_special=skip_special)
    return [*map(stream.push, ids), stream.finish()]


@KINDS
@given(data=st.data())
def test_pieces_join_to_the_whole_whatever_the_ids(
    tokenizer: Tokenizer, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    for skip in (True, False):
        joined = "".join(pieces(tokenizer, ids, skip_special=skip))
        assert joined == tokenizer.decode(ids, skip_special=skip)


@KINDS
@given(text=st.text(st.sampled_from("a é漢🙂👩‍👩‍👧🇫🇷"), min_size=1))
def test_characters_appear_with_their_last_byte(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_bos=False)
    shown = pieces(tokenizer, ids)
    assert "".join(shown) == text
    assert shown[-1] == ""
    assert "\ufffd" not in "".join(shown)


def test_an_emoji_of_four_tokens_waits_for_the_fourth() -> None:
    assert pieces(BYTE_LEVEL, BYTE_LEVEL.encode("🙂")) == ["", "", "", "🙂", ""]


def test_an_answer_cut_inside_a_character_says_so() -> None:
    assert pieces(BYTE_LEVEL, BYTE_LEVEL.encode("a🙂")[:-1]) == ["a", "", "", "", "\ufffd"]


def test_a_wrong_byte_does_not_hold_back_what_follows() -> None:
    broken = BYTE_LEVEL.encode("🙂")[:2] + BYTE_LEVEL.encode("a")
    assert pieces(BYTE_LEVEL, broken) == ["", "", "\ufffda", ""]


def test_only_the_first_space_is_dropped() -> None:
    ids = SENTENCE_PIECE.encode("the cat")
    assert pieces(SENTENCE_PIECE, ids) == ["", "the", " cat", ""]


def test_a_push_costs_its_own_token_only() -> None:
    class Counting:
        asked = 0

        def bytes_of(self, token_id: int) -> bytes:
            self.asked += 1
            return b"x"

    counting = Counting()
    stream = TextStream(counting.bytes_of, drops_first_space=True)
    for _ in range(1000):
        stream.push(0)
    assert counting.asked == 1000
