"""A tokenizer.json gives the ids that the `tokenizers` library gives for the same file.

Oracle: tokenizers 0.23, which reads the file itself. Ids are compared exactly.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tokenizers

from freehold.errors import BadTokenizer, LoadError, UnknownTokenizer
from freehold.tokenizer import Beside, tokenizer_from_json
from freehold.tokenizer.special import looks_like_control
from tests.tokenizer import tokenizer_json as made
from tests.tokenizer.strings import strings

FORMS: dict[str, dict[str, Any]] = {
    "bytes": made.byte_level(),
    "bytes_whole_words": made.byte_level(
        model={**made.byte_level()["model"], "ignore_merges": True}
    ),
    "blocks": made.blocks(),
    "metaspace_first": made.metaspace("first"),
    "metaspace_always": made.metaspace("always"),
    "metaspace_never": made.metaspace("never"),
    "spaces_kept": made.spaces_kept(),
    "normalized": made.blocks(
        added_tokens=[{**token, "normalized": True} for token in made.blocks()["added_tokens"]]
    ),
    "digits": made.byte_level(
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {**made.BYTE_TAIL, "use_regex": True},
            ],
        }
    ),
}
OWN = [
    "<|im_start|>the cat<|im_end|>",
    "the<｜User｜>cat <|begin|>",
    "<think>  hello world 123",
    "the [TOOL]   cat[TOOL]\n the",
    " [TOOL] ",
    "<s>the cat</s> the",
    "a<s>the",
    "▁▁▁▁ the   cat",
    "<unk><0x41>",
]
TEXTS = [*OWN, *strings()[::4]]


def oracle(fields: dict[str, Any], *, reads_control: bool) -> tokenizers.Tokenizer:
    """The library, with what is spelled like a control token marked as one."""
    fields = copy.deepcopy(fields)
    for token in fields["added_tokens"]:
        token["special"] = token["special"] or looks_like_control(token["content"])
    library = tokenizers.Tokenizer.from_str(made.as_text(fields))
    library.encode_special_tokens = not reads_control
    return library


@pytest.mark.parametrize("reads_control", [False, True], ids=["as_text", "as_control"])
@pytest.mark.parametrize("form", FORMS)
def test_gives_the_ids_of_the_library(form: str, reads_control: bool) -> None:
    tokenizer = tokenizer_from_json(FORMS[form], Beside())
    library = oracle(FORMS[form], reads_control=reads_control)
    for text in TEXTS:
        expected = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, add_bos=False, parse_special=reads_control) == expected, text


# The library shows special tokens that it matches in normalized text; ours are never shown.
@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"normalized"}))
def test_decodes_as_the_library(form: str) -> None:
    tokenizer = tokenizer_from_json(FORMS[form], Beside())
    library = oracle(FORMS[form], reads_control=True)
    for text in OWN:
        ids = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == library.decode(ids), text


def test_the_texts_tell_reading_control_from_not() -> None:
    for fields in FORMS.values():
        tokenizer = tokenizer_from_json(fields, Beside())
        differs = sum(tokenizer.encode(t) != tokenizer.encode(t, parse_special=True) for t in OWN)
        assert differs >= 2


@pytest.mark.parametrize("form", FORMS)
def test_no_text_of_a_person_becomes_a_control_token(form: str) -> None:
    tokenizer = tokenizer_from_json(FORMS[form], Beside())
    special = [i for i in range(tokenizer.vocab_size) if tokenizer.is_special(i)]
    spelled = [tokenizer.token(index) for index in special]
    for text in [*spelled, "".join(spelled), " ".join(spelled), *TEXTS]:
        assert not set(tokenizer.encode(text, add_bos=False)) & (set(special) - {0}), text


def test_a_control_token_that_merges_could_make_is_not_made() -> None:
    fields = made.byte_level()
    fields["added_tokens"][0] = made.added(fields["model"]["vocab"]["hello"], "hello")
    fields["post_processor"] = None
    tokenizer = tokenizer_from_json(fields, Beside())
    assert tokenizer.encode("hello", parse_special=True) == [fields["model"]["vocab"]["hello"]]
    assert fields["model"]["vocab"]["hello"] not in tokenizer.encode("hello")
    assert tokenizer.decode(tokenizer.encode("hello")) == "hello"


def test_begins_a_text_as_the_post_processor_says() -> None:
    tokenizer = tokenizer_from_json(made.byte_level(), Beside())
    library = oracle(made.byte_level(), reads_control=False)
    assert tokenizer.adds_bos
    assert tokenizer.encode("hello") == library.encode("hello").ids
    assert not tokenizer_from_json(made.byte_level(), Beside(adds_bos=False)).adds_bos


def test_rows_without_a_token_decode_to_nothing() -> None:
    tokenizer = tokenizer_from_json(made.byte_level(), Beside(size=400))
    assert tokenizer.vocab_size == 400
    assert tokenizer.decode([399, *tokenizer.encode("hello", add_bos=False), 398]) == "hello"
    assert not tokenizer.is_special(399)


def test_what_lies_beside_marks_control_and_ends() -> None:
    beside = Beside(
        control=frozenset({"<think>"}), eos="<|im_end|>", end_ids=frozenset({5}), size=300
    )
    tokenizer = tokenizer_from_json(made.byte_level(), beside)
    assert tokenizer.eos_ids == {tokenizer.eos_id, 5}
    assert tokenizer.token(tokenizer.eos_id or 0) == "<|im_end|>"
    think = tokenizer.encode("<think>", parse_special=True, add_bos=False)
    assert len(think) == 1
    assert tokenizer.encode("<think>", add_bos=False) != think


def changed(**changes: Any) -> dict[str, Any]:
    return made.byte_level(**changes)


def model(**changes: Any) -> dict[str, Any]:
    return changed(model={**made.byte_level()["model"], **changes})


EVIL = "(a+)+$"


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, "model: is not an object"),
        (changed(unheard=1), "'unheard'"),
        (changed(normalizer={"type": "Precompiled", "precompiled_charsmap": "x"}), "Precompiled"),
        (changed(normalizer={"type": "NFC", "more": 1}), "'more'"),
        (
            changed(normalizer={"type": "Replace", "pattern": {"Regex": EVIL}, "content": "x"}),
            "Regex",
        ),
        (changed(pre_tokenizer=made.split(EVIL)), "expression that is not known"),
        (changed(pre_tokenizer={"type": "UnicodeScripts"}), "UnicodeScripts"),
        (
            changed(
                pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Sequence"}] * 2}
            ),
            "sequence in a sequence",
        ),
        (changed(pre_tokenizer={"type": "Sequence", "pretokenizers": [{}] * 99}), "at most 32"),
        (changed(pre_tokenizer={**made.BYTE_TAIL, "add_prefix_space": True}), "add_prefix_space"),
        (changed(pre_tokenizer=None), "another way"),
        (changed(decoder={"type": "WordPiece"}), "WordPiece"),
        (changed(post_processor=made.before("<|im_end|>")), "puts other tokens"),
        (changed(added_tokens=[made.added(300, "x", single_word=True)]), "single_word"),
        (changed(added_tokens=[made.added(0, "x")]), "disagrees with model.vocab"),
        (changed(added_tokens=[made.added(1 << 30, "x")]), "whole number"),
        (changed(added_tokens=[made.added(300, "\ud800")]), "not text"),
        (
            changed(added_tokens=[made.added(300, "x"), made.added(300, "y")]),
            "said twice",
        ),
        (
            changed(added_tokens=[made.added(300 + n, "<" + "a" * n) for n in range(1, 200)]),
            "begin one another",
        ),
        (model(type="Unigram"), "Unigram"),
        (model(dropout=0.1), "dropout"),
        (model(end_of_word_suffix="</w>"), "end_of_word_suffix"),
        (model(vocab={}), "1 to"),
        (model(vocab={"a": 0, "b": 0}), "one id"),
        (model(vocab={"a": -1}), "out of range"),
        (model(vocab={"a": True}), "out of range"),
        (model(vocab={"a" * 5000: 1}), "length"),
        (model(merges=[["h", "e"], ["h", "e"]]), "twice"),
        (model(merges=[["h", "zz"]]), "merge 0 is not of tokens"),
        (model(merges=["h e x"]), "not of two tokens"),
        (model(merges=[["h", 1]]), "not of texts"),
    ],
)
def test_what_cannot_be_trusted_or_reproduced_is_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(LoadError, match=what):
        tokenizer_from_json(fields, Beside(bos="<|begin|>" if "puts" in what else None))


def test_an_unknown_token_that_whole_words_could_reach_is_refused() -> None:
    fields = made.blocks()
    fields["model"]["ignore_merges"] = True
    with pytest.raises(UnknownTokenizer, match="taken whole"):
        tokenizer_from_json(fields, Beside())


@pytest.mark.parametrize(
    ("beside", "what"),
    [
        (Beside(size=100), "does not belong"),
        (Beside(bos="<nothing>"), "bos_token"),
        (Beside(end_ids=frozenset({9999})), "eos_token_id"),
        (Beside(adds_eos=True), "names none"),
        (Beside(bos="<|im_end|>"), "post_processor"),
    ],
)
def test_files_that_contradict_each_other_are_refused(beside: Beside, what: str) -> None:
    with pytest.raises((BadTokenizer, UnknownTokenizer), match=what):
        tokenizer_from_json(made.byte_level(), beside)
