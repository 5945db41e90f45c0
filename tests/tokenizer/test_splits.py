"""Words are cut as the models' own tokenizer files cut them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from freehold.errors import UnknownTokenizer
from freehold.tokenizer.splits import SPLITS, split_named
from freehold.tokenizer.tokenizer import _bytes_of_alphabet

GOLDEN: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("golden_splits.json").read_text("utf-8")
)


def words(name: str, text: str) -> list[str]:
    split = SPLITS[name]
    normalizer = split.normalizer()
    if normalizer is not None:
        text = normalizer.normalize_str(text)
    cut = split.pre_tokenizer().pre_tokenize_str(text)
    return [_bytes_of_alphabet(word).decode() for word, _ in cut]


@pytest.mark.parametrize("name", ["llama-bpe", "qwen2", "deepseek-v3", "tekken"])
@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: ascii(case["text"])[:40])
def test_cuts_as_the_model_s_own_file(name: str, case: dict[str, Any]) -> None:
    assert words(name, case["text"]) == case["words"][name]


def test_the_golden_splits_tell_the_kinds_apart() -> None:
    names = ["llama-bpe", "qwen2", "deepseek-v3", "tekken"]
    for first in names:
        for second in names:
            if first != second:
                assert any(c["words"][first] != c["words"][second] for c in GOLDEN)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        # By reading the patterns in llama.cpp's table; no packaged file to compare with.
        ("smollm", "ab12 3", ["ab", "1", "2", " ", "3"]),
        ("gpt-2", "ab12 3 'x don't", ["ab", "12", " 3", " '", "x", " don", "'t"]),
        ("default", "a=b 12345", ["a", "=", "b", " ", "123", "45"]),
        ("deepseek-coder", "x, = 12\n", ["x", ",", " = ", "1", "2", "\n"]),
        # Its third stage's range from colon to tilde holds the plain letters too.
        ("deepseek-llm", "Größe 12 漢字  ", ["Gr", "öß", "e", " ", "1", "2", " ", "漢字", "  "]),
        ("qwen35", "नमस्ते 12", ["नमस्ते", " ", "1", "2"]),
        ("gpt-4o", "don't HTMLParser 1234", ["don't", " HTMLParser", " ", "123", "4"]),
        ("glm4", "12345 ok", ["123", "45", " ok"]),
    ],
)
def test_cuts_by_hand(name: str, text: str, expected: list[str]) -> None:
    assert words(name, text) == expected


@pytest.mark.parametrize("text", ["a  ", "a  b", "  ", " a b  \x0b ", "x\u3000 \u3000", "a \x85 "])
def test_the_lookbehind_changes_no_match(text: str) -> None:
    stages = {
        pattern: pre_tokenizers.Split(Regex(pattern), behavior="isolated").pre_tokenize_str(text)
        for pattern in (r"\s+$", r"(?<!\s)\s+$")
    }
    assert stages[r"\s+$"] == stages[r"(?<!\s)\s+$"]


# One name for each way of cutting; several names share one.
DISTINCT = sorted({split: name for name, split in SPLITS.items()}.values())
RUN = 50_000
# All runs below together take a tenth of it; by its square, one run alone would take ten times it.
MOST_SECONDS = 5.0


@pytest.mark.parametrize("name", DISTINCT)
def test_long_runs_do_not_cost_their_square(name: str) -> None:
    split = SPLITS[name].pre_tokenizer()
    start_s = time.thread_time()
    for unit in (" ", "\n", "a", "A", ".", "漢", "\u0301"):
        text = unit * RUN + "b"
        cut = split.pre_tokenize_str(text)
        assert sum(len(_bytes_of_alphabet(word)) for word, _ in cut) == len(text.encode())
    assert time.thread_time() - start_s < MOST_SECONDS


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_every_split_keeps_every_byte(name: str) -> None:
    for case in GOLDEN:
        text = case["text"]
        normalizer = SPLITS[name].normalizer()
        expected = normalizer.normalize_str(text) if normalizer else text
        assert "".join(words(name, text)) == expected


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownTokenizer, match="'kimi-k9'") as caught:
        split_named("kimi-k9")
    assert caught.value.value == "kimi-k9"
    assert "llama-bpe" in caught.value.expected


def test_an_absent_name_is_refused() -> None:
    with pytest.raises(UnknownTokenizer, match="found nothing"):
        split_named(None)


def test_a_split_is_usable_by_the_library() -> None:
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = SPLITS["smollm"].pre_tokenizer()
    assert library.encode("text").ids == []
