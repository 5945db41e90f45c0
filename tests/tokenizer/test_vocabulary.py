"""Hostile or careless metadata are refused by the name of the field that is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freehold.errors import BadTokenizer, LoadError, UnknownTokenizer
from freehold.tokenizer import tokenizer_from_gguf, vocabulary
from tests.tokenizer import vocabularies as toy

TOKENS: list[str] = toy.byte_level()["tokenizer.ggml.tokens"]
COUNT = len(TOKENS)


@pytest.mark.parametrize(
    ("changes", "field", "found"),
    [
        ({"tokens": None}, "tokens", "no vocabulary"),
        ({"tokens": []}, "tokens", "no vocabulary"),
        ({"tokens": "abc"}, "tokens", "found str"),
        ({"tokens": 7}, "tokens", "found int"),
        ({"tokens": [*TOKENS[:-1], 7]}, "tokens", f"found int at {COUNT - 1}"),
        ({"tokens": [*TOKENS[:-1], b"x"]}, "tokens", "found bytes"),
        ({"tokens": [*TOKENS[:-1], TOKENS[5]]}, "tokens", f"found ids 5 and {COUNT - 1}"),
        ({"tokens": [*TOKENS[:-1], "\ud800"]}, "tokens", "not text"),
        ({"tokens": [*TOKENS[:-1], "x" * 5000]}, "tokens", f"found 5000 at {COUNT - 1}"),
        ({"token_type": None}, "token_type", "missing"),
        ({"token_type": [1] * (COUNT - 1)}, "token_type", f"found {COUNT - 1}"),
        ({"token_type": [1] * (COUNT + 1)}, "token_type", f"found {COUNT + 1}"),
        ({"token_type": [1] * (COUNT - 1) + [7]}, "token_type", f"found 7 at {COUNT - 1}"),
        ({"token_type": [1] * (COUNT - 1) + [-1]}, "token_type", "found -1"),
        ({"token_type": [1.5] * COUNT}, "token_type", "found 1.5"),
        ({"token_type": ["x"] * COUNT}, "token_type", "no number"),
        ({"token_type": [10**400] * COUNT}, "token_type", "no number"),
        ({"token_type": np.ones((COUNT, 1))}, "token_type", "wrong length"),
        ({"token_type": "1" * COUNT}, "token_type", "found str"),
        ({"token_type": [6] * COUNT}, "token_type", "byte tokens of the other kind"),
        ({"merges": 7}, "merges", "found int"),
        ({"merges": [7]}, "merges", "found int at 0"),
        ({"bos_token_id": COUNT}, "bos_token_id", f"found {COUNT}"),
        ({"eos_token_id": -1}, "eos_token_id", "found -1"),
        ({"eot_token_id": 2**32 - 1}, "eot_token_id", "found 4294967295"),
        ({"eom_token_id": "7"}, "eom_token_id", "found str"),
        ({"padding_token_id": True}, "padding_token_id", "found bool"),
        ({"unknown_token_id": 1.0}, "unknown_token_id", "found float"),
        ({"add_bos_token": 1}, "add_bos_token", "found int"),
        ({"add_bos_token": True, "bos_token_id": None}, "add_bos_token", "found nothing"),
        ({"add_eos_token": True, "eos_token_id": None}, "add_eos_token", "found nothing"),
        ({"add_space_prefix": True}, "add_space_prefix", "found true"),
        ({"model": 7}, "model", "found int"),
        ({"pre": 7}, "pre", "found int"),
    ],
)
def test_names_the_field_and_what_was_found(
    changes: dict[str, Any], field: str, found: str
) -> None:
    with pytest.raises(BadTokenizer) as caught:
        tokenizer_from_gguf(toy.byte_level(**changes))
    assert f"tokenizer.ggml.{field}" in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize("model", [None, "t5", "bert", "x" * 1000])
def test_an_unsupported_kind_is_refused(model: str | None) -> None:
    with pytest.raises(UnknownTokenizer, match="gpt2") as caught:
        tokenizer_from_gguf(toy.byte_level(model=model))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("pre", [None, "klingon"])
def test_an_unknown_split_is_refused(pre: str | None) -> None:
    with pytest.raises(UnknownTokenizer, match=r"tokenizer\.ggml\.pre"):
        tokenizer_from_gguf(toy.byte_level(pre=pre))


def test_no_metadata_at_all() -> None:
    with pytest.raises(LoadError):
        tokenizer_from_gguf({})


def test_counts_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MAX_TOKENS", COUNT - 1)
    with pytest.raises(BadTokenizer, match="too many"):
        tokenizer_from_gguf(toy.byte_level())
    monkeypatch.setattr(vocabulary, "MAX_TOKENS", COUNT)
    monkeypatch.setattr(vocabulary, "_MAX_VOCABULARY_CHARS", COUNT)
    with pytest.raises(BadTokenizer, match="too large"):
        tokenizer_from_gguf(toy.byte_level())


def test_empty_tokens_keep_their_ids() -> None:
    tokens = ["" if token in {"hell", "Ġwor"} else token for token in TOKENS]
    made = toy.byte_level(tokens=tokens, merges=["h e", "l l"])
    tokenizer = tokenizer_from_gguf(made)
    assert tokenizer.vocab_size == COUNT
    assert tokenizer.encode("he") == [TOKENS.index("he")]
    assert tokenizer.token(TOKENS.index("hell")) == f"[EMPTY_{TOKENS.index('hell')}]"


def test_unused_tokens_keep_their_ids_and_no_text_reaches_them() -> None:
    kinds = toy.byte_level()["tokenizer.ggml.token_type"].copy()
    unused = TOKENS.index("hello")
    kinds[unused] = 5
    tokenizer = tokenizer_from_gguf(toy.byte_level(token_type=kinds))
    assert unused not in tokenizer.encode("hello", parse_special=True)
    assert tokenizer.decode([unused]) == "hello"
