"""A sentence-piece vocabulary is read as sentence-piece reads it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import BadTokenizer
from freehold.tokenizer import Tokenizer, tokenizer_from_gguf
from tests.tokenizer import vocabularies as toy

TOKENIZER = tokenizer_from_gguf(toy.sentence_piece())
SCORES = {
    token: score
    for token, score, kind in zip(
        toy.sentence_piece()["tokenizer.ggml.tokens"],
        toy.sentence_piece()["tokenizer.ggml.scores"].tolist(),
        toy.sentence_piece()["tokenizer.ggml.token_type"],
        strict=True,
    )
    if kind == 1
}


def spelled(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token(i) for i in tokenizer.encode(text, add_bos=False)]


def by_the_book(text: str) -> list[str]:
    """Sentence-piece BPE as it is defined: join the pair of best score, leftmost first."""
    parts = list("▁" + text.replace(" ", "▁"))
    while True:
        joined = [(SCORES.get(a + b), -at) for at, (a, b) in enumerate(pairwise(parts))]
        best = max(((score, at) for score, at in joined if score is not None), default=None)
        if best is None:
            break
        at = -best[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return [
        piece
        for part in parts
        for piece in ([part] if part in SCORES else [f"<0x{byte:02X}>" for byte in part.encode()])
    ]


@given(st.text("theincatsor .zé漢", min_size=1, max_size=30))
def test_the_pair_of_best_score_is_joined_first(text: str) -> None:
    assert spelled(TOKENIZER, text) == by_the_book(text)


def test_a_sentence() -> None:
    assert spelled(TOKENIZER, "the cat sat") == ["▁the", "▁cat", "▁s", "at"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁")))
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_a_space_leads_unless_the_file_says_no() -> None:
    bare = tokenizer_from_gguf(toy.sentence_piece(add_space_prefix=False))
    assert spelled(TOKENIZER, "a") == ["▁a"]
    assert spelled(bare, "a") == ["a"]
    assert TOKENIZER.decode(TOKENIZER.encode(" a")) == " a"
    assert bare.decode(bare.encode(" a")) == " a"


def test_what_continues_a_text_keeps_its_space() -> None:
    cat = TOKENIZER.encode("cat", add_bos=False)
    assert TOKENIZER.decode(cat) == "cat"
    assert TOKENIZER.decode(cat, continuing=True) == " cat"
    assert TOKENIZER.stream(continuing=True).push(cat[0]) == " cat"


def test_a_space_leads_after_a_special_token_too() -> None:
    ids = TOKENIZER.encode("a</s>a", add_bos=False, parse_special=True)
    assert [TOKENIZER.token(i) for i in ids] == ["▁a", "</s>", "▁a"]


def test_bos_is_added_unless_the_file_says_no() -> None:
    assert TOKENIZER.encode("a")[0] == 1
    assert tokenizer_from_gguf(toy.sentence_piece(add_bos_token=False)).encode("a")[0] != 1


def test_ids_that_old_files_leave_unsaid() -> None:
    fields = {"bos_token_id": None, "eos_token_id": None, "unknown_token_id": None}
    old = tokenizer_from_gguf(toy.sentence_piece(**fields))
    assert (old.bos_id, old.eos_ids) == (1, frozenset({2}))


@pytest.mark.parametrize("text", ["</s>", "<s>", "<unk>", "<0x0A>", "<0x00>"])
def test_spellings_of_special_and_byte_tokens_are_text(text: str) -> None:
    # With halves of `</s>` in the vocabulary, merging alone would reach it.
    fields = toy.sentence_piece()
    halves = "< > / </ s> </s < <0 x0A> 0 A <s u <u nk> <unk"
    tokens = fields["tokenizer.ggml.tokens"]
    tokens += [half for half in dict.fromkeys(halves.split()) if half not in tokens]
    added = len(fields["tokenizer.ggml.tokens"]) - len(fields["tokenizer.ggml.token_type"])
    fields["tokenizer.ggml.token_type"] += [1] * added
    fields["tokenizer.ggml.scores"] = [*fields["tokenizer.ggml.scores"].tolist(), *[-1.0] * added]
    tokenizer = tokenizer_from_gguf(fields)
    ids = tokenizer.encode(text, add_bos=False)
    assert text not in [tokenizer.token(i) for i in ids]
    assert tokenizer.decode(ids) == text


def test_user_defined_tokens_are_always_read() -> None:
    assert "<tool>" in spelled(TOKENIZER, "the<tool>cat")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"scores": None}, "scores"),
        ({"scores": [0.0]}, "scores.*wrong length"),
        ({"scores": [float("nan")] * 305}, "scores.*NaN"),
        ({"unknown_token_id": 270}, "unknown_token_id"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], what: str) -> None:
    assert len(toy.sentence_piece()["tokenizer.ggml.tokens"]) == 305
    with pytest.raises(BadTokenizer, match=what):
        tokenizer_from_gguf(toy.sentence_piece(**changes))


def test_a_misspelled_byte_token_is_refused() -> None:
    tokens = list(toy.sentence_piece()["tokenizer.ggml.tokens"])
    tokens[3] = "<0xZZ>"
    with pytest.raises(BadTokenizer, match="<0xZZ>"):
        tokenizer_from_gguf(toy.sentence_piece(tokens=tokens))


def test_tokens_too_long_to_derive_merges_from_are_refused_at_once() -> None:
    fields = toy.sentence_piece()
    fields["tokenizer.ggml.tokens"] += [f"{number:04}" + "a" * 4000 for number in range(100)]
    fields["tokenizer.ggml.token_type"] += [1] * 100
    fields["tokenizer.ggml.scores"] = [*fields["tokenizer.ggml.scores"].tolist(), *[-1.0] * 100]
    with pytest.raises(BadTokenizer, match="too long to derive"):
        tokenizer_from_gguf(fields)
