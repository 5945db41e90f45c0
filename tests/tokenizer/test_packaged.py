"""A tokenizer.json inside the file is used, after it has been held against the token list."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from freehold.errors import BadTokenizer, FormatError, LoadError
from freehold.tokenizer import tokenizer_from_gguf
from tests.tokenizer import vocabularies as toy

FIELDS = toy.byte_level()
TOKENS: list[str] = FIELDS["tokenizer.ggml.tokens"]
PLAIN = tokenizer_from_gguf(FIELDS)
TEXT = "hello world<s>123<think></s> 🙂"


def packaged(**changes: Any) -> str:
    kinds = FIELDS["tokenizer.ggml.token_type"]
    added = [
        {
            "id": index,
            "content": TOKENS[index],
            "special": bool(kinds[index] == 3),
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for index in range(len(TOKENS))
        if kinds[index] != 1
    ]
    vocab = {token: index for index, token in enumerate(TOKENS) if kinds[index] == 1}
    model = {"type": "BPE", "vocab": vocab, "merges": toy.MERGES}
    described = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    return json.dumps({**described, **changes})


def with_package(text: object, **changes: Any) -> dict[str, Any]:
    return {**toy.byte_level(**changes), "tokenizer.huggingface.json": text}


@pytest.mark.parametrize("parse_special", [False, True])
def test_gives_the_ids_of_the_same_vocabulary(parse_special: bool) -> None:
    tokenizer = tokenizer_from_gguf(with_package(packaged()))
    ids = tokenizer.encode(TEXT, parse_special=parse_special)
    assert ids == PLAIN.encode(TEXT, parse_special=parse_special)
    assert tokenizer.decode(ids, skip_special=False) == TEXT


def test_needs_no_known_split() -> None:
    tokenizer = tokenizer_from_gguf(with_package(packaged(), pre="klingon"))
    assert tokenizer.encode("hello") == PLAIN.encode("hello")


def test_truncation_in_the_package_is_not_obeyed() -> None:
    cut = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    tokenizer = tokenizer_from_gguf(with_package(packaged(truncation=cut)))
    assert tokenizer.encode(TEXT) == PLAIN.encode(TEXT)


def test_threads_that_read_control_tokens_do_not_disturb_those_that_do_not() -> None:
    tokenizer = tokenizer_from_gguf(with_package(packaged()))

    expected = {parse: PLAIN.encode(TEXT, parse_special=parse) for parse in (True, False)}

    def same(number: int) -> bool:
        parse = number % 2 == 0
        return tokenizer.encode(TEXT, parse_special=parse) == expected[parse]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, range(400)))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "cannot be read"),
        ("{}", "model: is not an object"),
        ("{" * 100_000, "cannot be read"),
        (7, "not a text"),
        (packaged(added_tokens=[]), "disagrees"),
        (packaged().replace('"hello": ', '"jello": '), "merge 3 is not of tokens"),
        (packaged(post_processor={"type": "Unheard"}), "not carried"),
    ],
    ids=["empty", "no_model", "deep", "no_text", "fewer_tokens", "merge_of_no_token", "unheard"],
)
def test_a_package_that_cannot_be_trusted_is_refused(text: object, what: str) -> None:
    with pytest.raises((FormatError, LoadError), match=what):
        tokenizer_from_gguf(with_package(text))


def test_a_package_with_surplus_tokens_is_refused() -> None:
    surplus = json.loads(packaged())
    surplus["model"]["vocab"] = {token: i for i, token in enumerate([*TOKENS, "surplus"])}
    with pytest.raises(BadTokenizer, match="does not belong"):
        tokenizer_from_gguf(with_package(json.dumps(surplus)))
