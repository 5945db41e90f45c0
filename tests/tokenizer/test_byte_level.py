"""A byte-level vocabulary is read as its metadata describe it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import BadPrompt, BadTokenizer
from freehold.tokenizer import Tokenizer, tokenizer_from_gguf
from tests.tokenizer import vocabularies as toy

TOKENIZER = tokenizer_from_gguf(toy.byte_level())


def spelled(tokenizer: Tokenizer, text: str, *, parse_special: bool = False) -> list[str]:
    return [tokenizer.token(i) for i in tokenizer.encode(text, parse_special=parse_special)]


def by_the_book(word: str) -> list[str]:
    """BPE as it is defined: the earliest merge that applies, leftmost first, until none does."""
    parts = list(word)
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(toy.MERGES)}
    while True:
        pairs = [(ranks.get((a, b)), at) for at, (a, b) in enumerate(pairwise(parts))]
        best = min(((rank, at) for rank, at in pairs if rank is not None), default=None)
        if best is None:
            return parts
        at = best[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@given(st.text("helowrd123", min_size=1, max_size=12).filter(lambda s: s.isalpha() or s.isdigit()))
def test_merges_apply_in_their_order(word: str) -> None:
    assert spelled(TOKENIZER, word) == by_the_book(word)


def test_words_numbers_and_spaces() -> None:
    assert spelled(TOKENIZER, "hello world") == ["hello", "Ġworld"]
    assert spelled(TOKENIZER, "123") == ["123"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    ids = TOKENIZER.encode(text, parse_special=True)
    assert TOKENIZER.decode(ids, skip_special=False) == text


@pytest.mark.parametrize("control", toy.CONTROL)
def test_control_strings_are_text_unless_asked(control: str) -> None:
    control_id = toy.byte_level()["tokenizer.ggml.tokens"].index(control)
    assert control_id not in TOKENIZER.encode(f"a{control}b")
    assert TOKENIZER.encode(f"a{control}b", parse_special=True)[1] == control_id
    assert TOKENIZER.decode(TOKENIZER.encode(control)) == control


def test_no_word_or_merge_can_make_a_control_token() -> None:
    # A hostile or careless file whose merges lead to a control token.
    tokens = [*toy.BYTES, "ab", "abc"]
    fields = {
        "tokens": tokens,
        "token_type": [1] * 257 + [3],
        "merges": ["a b", "ab c"],
        "bos_token_id": None,
        "eos_token_id": 257,
    }
    for pre in ("gpt-2", "llama-bpe"):
        tokenizer = tokenizer_from_gguf(toy.byte_level(**fields, pre=pre))
        assert spelled(tokenizer, "abc") == ["ab", "c"]
        assert tokenizer.encode("abc", parse_special=True) == [257]
        assert tokenizer.token(257) == "abc"


def test_user_defined_tokens_are_always_read() -> None:
    assert spelled(TOKENIZER, "a<think>b") == ["a", "<think>", "b"]
    assert spelled(TOKENIZER, "a   b") == ["a", "  ", "Ġ", "b"]


def test_the_longest_special_token_wins() -> None:
    fields: dict[str, Any] = {"tokens": [*toy.BYTES, "<a", "<a>"], "token_type": [1] * 256 + [3, 3]}
    made = toy.byte_level(**fields, merges=["h e"], bos_token_id=None, eos_token_id=None)
    made["tokenizer.ggml.tokens"] = [*toy.BYTES, "<a", "<a>", "he"]
    made["tokenizer.ggml.token_type"] = [1] * 256 + [3, 3, 1]
    tokenizer = tokenizer_from_gguf(made)
    assert tokenizer.encode("<a><a", parse_special=True) == [257, 256]


def test_control_tokens_are_left_out_of_decoded_text() -> None:
    ids = TOKENIZER.encode("<s>hello</s><think>", parse_special=True)
    assert TOKENIZER.decode(ids) == "hello<think>"
    assert TOKENIZER.decode(ids, skip_special=False) == "<s>hello</s><think>"
    assert [TOKENIZER.is_special(i) for i in ids] == [True, False, True, False]


def test_bos_follows_the_file_and_is_not_doubled() -> None:
    adds = tokenizer_from_gguf(toy.byte_level(add_bos_token=True))
    bos = adds.bos_id
    assert adds.encode("h")[0] == bos
    assert adds.encode("<s>h", parse_special=True).count(bos or 0) == 1
    assert adds.encode("<s>h", parse_special=True, add_bos=True).count(bos or 0) == 2
    assert bos not in adds.encode("h", add_bos=False)
    assert bos not in TOKENIZER.encode("h")
    assert TOKENIZER.encode("h", add_bos=True)[0] == bos
    assert TOKENIZER.encode("") == []


def test_bos_by_the_kind_of_split_when_the_file_is_silent() -> None:
    assert tokenizer_from_gguf(toy.byte_level(add_bos_token=None, pre="llama-bpe")).adds_bos
    assert not tokenizer_from_gguf(toy.byte_level(add_bos_token=None, pre="qwen2")).adds_bos


def test_eos_is_added_only_when_asked() -> None:
    adds = tokenizer_from_gguf(toy.byte_level(add_eos_token=True))
    assert adds.encode("h", add_eos=None)[-1] == adds.eos_id
    assert adds.encode("h")[-1] != adds.eos_id
    assert TOKENIZER.encode("h", add_eos=None)[-1] != TOKENIZER.eos_id


def test_a_token_the_model_lacks_cannot_be_added() -> None:
    without = tokenizer_from_gguf(toy.byte_level(bos_token_id=None))
    with pytest.raises(BadPrompt, match="no token for the beginning"):
        without.encode("h", add_bos=True)


def test_every_end_of_turn_ends_an_answer() -> None:
    assert {TOKENIZER.token(i) for i in TOKENIZER.eos_ids} == {"</s>", "<|im_end|>"}
    eot = tokenizer_from_gguf(toy.byte_level(eot_token_id=104, eom_token_id=105))
    assert eot.eos_ids == TOKENIZER.eos_ids | {104, 105}


def test_an_end_of_turn_spelled_by_a_plain_token_is_text() -> None:
    kinds = toy.byte_level()["tokenizer.ggml.token_type"].copy()
    kinds[toy.byte_level()["tokenizer.ggml.tokens"].index("<|im_end|>")] = 1
    tokenizer = tokenizer_from_gguf(toy.byte_level(token_type=kinds))
    assert {tokenizer.token(i) for i in tokenizer.eos_ids} == {"</s>"}


def test_an_end_of_message_inside_an_answer_does_not_end_it() -> None:
    tokens = [*toy.BYTES, "he", "<|end|>", "<|return|>", "<|call|>"]
    made = toy.byte_level(
        tokens=tokens,
        token_type=[1] * 257 + [3] * 3,
        merges=["h e"],
        bos_token_id=None,
        eos_token_id=258,
    )
    assert tokenizer_from_gguf(made).eos_ids == {258, 259}


def test_a_word_that_is_a_token_needs_no_merges_where_the_split_says_so() -> None:
    # `zz` is a token that no merge leads to.
    fields = {"tokens": [*toy.BYTES, "he", "zz"], "token_type": [1] * 258, "merges": ["h e"]}
    ends = {"bos_token_id": None, "eos_token_id": None}
    whole = tokenizer_from_gguf(toy.byte_level(**fields, **ends, pre="llama-bpe"))
    merged = tokenizer_from_gguf(toy.byte_level(**fields, **ends, pre="gpt-2"))
    assert whole.encode("zz") == [257]
    assert len(merged.encode("zz")) == 2


def test_text_that_is_no_unicode_is_refused_without_quoting_it() -> None:
    with pytest.raises(BadPrompt, match="character 6") as caught:
        TOKENIZER.encode("secret\ud800")
    assert "secret" not in str(caught.value)


def test_an_id_outside_the_vocabulary_is_an_error() -> None:
    for wrong in (-1, TOKENIZER.vocab_size):
        with pytest.raises(IndexError, match=str(wrong)):
            TOKENIZER.decode([wrong])


def test_python_lists_and_tuples_serve_as_well_as_arrays() -> None:
    fields = toy.byte_level()
    fields["tokenizer.ggml.tokens"] = tuple(fields["tokenizer.ggml.tokens"])
    fields["tokenizer.ggml.merges"] = tuple(fields["tokenizer.ggml.merges"])
    fields["tokenizer.ggml.token_type"] = fields["tokenizer.ggml.token_type"].tolist()
    assert tokenizer_from_gguf(fields).encode("hello") == TOKENIZER.encode("hello")


@pytest.mark.parametrize(
    ("merges", "what"),
    [
        ([], "no merges"),
        (["h e", "h e"], "twice"),
        (["h e", "h zz"], "merge 1 "),
        (["h w"], "merge 0 "),
        (["he"], "merge 0 "),
        (["h  e"], "merge 0 "),
        ([" he"], "merge 0 "),
    ],
)
def test_wrong_merges_are_refused(merges: list[str], what: str) -> None:
    with pytest.raises(BadTokenizer, match=what):
        tokenizer_from_gguf(toy.byte_level(merges=merges))
