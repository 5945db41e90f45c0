"""Masks allow what the grammar allows, and nothing but it."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from freehold.engine.matcher import Matchers, mask_words
from freehold.errors import BadSchema, ContractBroken
from freehold.tokenizer import tokenizer_from_gguf
from tests.tokenizer.vocabularies import byte_level, sentence_piece

TOKENS = tokenizer_from_gguf(byte_level())
MATCHERS = Matchers(TOKENS)
SIZE = TOKENS.vocab_size


def allowed(grammar: str, written: str = "", *, matchers: Matchers = MATCHERS) -> set[int]:
    matcher = matchers.new(grammar)
    for token in TOKENS.encode(written, parse_special=True):
        matcher.accept(token)
    mask = np.full(mask_words(matchers.vocabulary), 0xFFFFFFFF, np.uint32)
    matcher.fill(mask)
    return set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist())


def ids(*texts: str) -> set[int]:
    return {TOKENS.encode(text, parse_special=True)[0] for text in texts}


END = TOKENS.eos_ids


def test_allows_every_token_that_the_text_may_begin_with() -> None:
    assert allowed('start: "hello" | "12"') == ids("h", "he", "hell", "hello", "1", "12") - ids("x")


def test_allows_the_end_only_where_the_grammar_does() -> None:
    assert allowed('start: "h" "e"?', "h") == ids("e") | END
    assert not allowed('start: "h" "e"', "h") & END


def test_every_end_of_an_answer_counts() -> None:
    tokens = tokenizer_from_gguf(byte_level(eot_token_id=269))
    assert len(tokens.eos_ids) > 1
    assert allowed('start: "h"', "h", matchers=Matchers(tokens)) == tokens.eos_ids


def test_no_text_is_a_control_token() -> None:
    everything = allowed(r"start: /(.|\n)*/")
    assert not everything & (ids("<s>", "<|begin▁x｜>") - END)
    assert ids("<think>", "a", "<") <= everything


def test_a_control_token_is_allowed_by_its_id() -> None:
    (marker,) = ids("<|im_end|>")
    assert allowed(f"start: <[{marker}]>") == {marker}


def test_tokens_of_half_a_character_are_followed_to_its_end() -> None:
    matcher = MATCHERS.new('start: "é"')
    seen = []
    for token in TOKENS.encode("é"):
        matcher.accept(token)
        seen.append(matcher.allowed_end)
    assert seen == [False, True]


def test_logits_beyond_the_tokenizer_are_never_allowed() -> None:
    wide = Matchers(TOKENS, SIZE + 50)
    assert wide.vocabulary == SIZE + 50
    assert max(allowed(r"start: /(.|\n)*/", matchers=wide)) < SIZE


def test_works_for_sentence_pieces() -> None:
    pieces = tokenizer_from_gguf(sentence_piece())
    matcher = Matchers(pieces).new('start: " the cat"')
    for token in pieces.encode("the cat", add_bos=False):
        matcher.accept(token)
    assert matcher.finished


def test_says_when_nothing_but_the_end_may_follow() -> None:
    matcher = MATCHERS.new('start: "h" "e"?')
    seen = [(matcher.allowed_end, matcher.finished)]
    for letter in "he":
        matcher.accept(*ids(letter))
        seen.append((matcher.allowed_end, matcher.finished))
    assert seen == [(False, False), (True, False), (True, True)]


def test_a_token_that_is_not_allowed_is_an_error_and_changes_nothing() -> None:
    matcher = MATCHERS.new('start: "h" "e"')
    with pytest.raises(ContractBroken):
        matcher.accept(*ids("e"))
    matcher.accept(*ids("h"))
    matcher.accept(*ids("e"))
    assert matcher.finished


def test_goes_back_and_copies() -> None:
    matcher = MATCHERS.new('start: "h" "e" "l"')
    for letter in "he":
        matcher.accept(*ids(letter))
    other = matcher.copy()
    matcher.rollback(1)
    matcher.accept(*ids("e"))
    for one in (matcher, other):
        one.accept(*ids("l"))
        assert one.finished


@pytest.mark.parametrize("grammar", ["start: absent", "", "start: /(/", '{"grammars": 3}'])
def test_refuses_what_is_no_grammar(grammar: str) -> None:
    with pytest.raises(BadSchema, match="cannot be enforced"):
        MATCHERS.new(grammar)


def test_refuses_a_grammar_of_megabytes() -> None:
    with pytest.raises(BadSchema, match="too large"):
        MATCHERS.new("start: " + " | ".join('"abc"' for _ in range(400_000)))


def test_what_is_too_complex_ends_with_an_error_and_not_without_a_mask() -> None:
    matcher = MATCHERS.new("start: /((a{100}){100}){100}/")
    mask = np.zeros(mask_words(SIZE), np.uint32)

    def answer() -> None:
        for _ in range(3):
            matcher.fill(mask)
            matcher.accept(*ids("a"))

    with pytest.raises(BadSchema, match="too complex"):
        answer()


def test_a_place_with_no_way_on_is_an_error() -> None:
    with pytest.raises(BadSchema):
        allowed("start: x\nx: x")


def test_a_mask_of_another_size_is_an_error() -> None:
    matcher = MATCHERS.new('start: "h"')
    for wrong in (np.zeros(3, np.uint32), np.zeros(mask_words(SIZE), np.uint64)):
        with pytest.raises(ContractBroken):
            matcher.fill(wrong)  # type: ignore[arg-type]


def test_a_model_without_an_end_cannot_be_held_to_a_grammar() -> None:
    tokens = [token.replace("end", "mid") for token in byte_level()["tokenizer.ggml.tokens"]]
    endless = tokenizer_from_gguf(byte_level(eos_token_id=None, tokens=tokens))
    assert not endless.eos_ids
    with pytest.raises(BadSchema, match="no token that ends"):
        Matchers(endless).new('start: "a"')


def written_out(matchers: Matchers, grammar: str) -> list[int]:
    """What is written when the grammar leaves no choice but of tokens: always the last allowed."""
    matcher, out = matchers.new(grammar), []
    mask = np.zeros(mask_words(matchers.vocabulary), np.uint32)
    while not matcher.finished:
        matcher.fill(mask)
        out.append(int(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))[-1]))
        matcher.accept(out[-1])
    return out


@pytest.mark.parametrize("vocabulary", [byte_level, sentence_piece])
@pytest.mark.parametrize("text", ["the cat", " the cat", '{"the cat": 1}', "  the\n\n cat ", "é"])
def test_a_text_without_a_choice_is_written_to_its_end(
    vocabulary: Callable[[], dict[str, object]], text: str
) -> None:
    tokens = tokenizer_from_gguf(vocabulary())
    ids = written_out(Matchers(tokens), f"start: {json.dumps(text, ensure_ascii=False)}")
    assert b"".join(map(tokens.token_bytes, ids)) == text.encode()


@pytest.mark.parametrize("text", ["\x16", "a\x16", "the\x16cat"])
def test_a_text_that_the_vocabulary_cannot_spell_is_refused(text: str) -> None:
    # The letter that stands for the byte in the vocabulary is taken away.
    spellings = [("unused" if t == "Ė" else t) for t in byte_level()["tokenizer.ggml.tokens"]]
    tokens = tokenizer_from_gguf(byte_level(tokens=spellings))
    with pytest.raises(BadSchema, match="cannot spell"):
        written_out(Matchers(tokens), f"start: {json.dumps(text)}")
