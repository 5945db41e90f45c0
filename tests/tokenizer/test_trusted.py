"""An encoder's tokenizer.json may ask the library for known parts and expressions only."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.errors import UnknownTokenizer
from freehold.tokenizer.trusted import check_parts


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}


def test_published_forms_pass() -> None:
    check_parts(
        {
            "normalizer": {"type": "BertNormalizer", "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing", "single": []},
            "model": {"type": "WordPiece", "vocab": {"type": 1, "Regex": 2}},
        }
    )
    replaced = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
    check_parts({"normalizer": {"type": "Sequence", "normalizers": [replaced]}})


@pytest.mark.parametrize(
    "fields",
    [
        {"pre_tokenizer": split("(a+)+$")},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split("(a+)+$")]}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}},
        {"normalizer": {"type": "Unheard"}},
        {"pre_tokenizer": {"type": "Unheard"}},
        {"post_processor": {"type": "Unheard"}},
        {"model": {"type": "Unheard"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": 1}}},
    ],
)
def test_anything_else_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnknownTokenizer):
        check_parts(fields)
