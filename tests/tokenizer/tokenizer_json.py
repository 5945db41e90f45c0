"""Small tokenizer.json files, one for each form that families publish."""

from __future__ import annotations

import json
from typing import Any

from freehold.tokenizer.splits import SPLITS
from tests.tokenizer import vocabularies as toy

BLOCK = "▁"
BYTE_TAIL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
BYTE_DECODER = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}


def added(index: int, content: str, **changes: Any) -> dict[str, Any]:
    """An added token, special unless said otherwise."""
    token = {
        "id": index,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    return {**token, **changes}


def split(pattern: str) -> dict[str, Any]:
    """A stage that cuts by an expression."""
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def before(token: str) -> dict[str, Any]:
    """A post-processor that puts a token before a text."""
    single: list[dict[str, Any]] = [
        {"SpecialToken": {"id": token, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [BYTES_END], "tokens": [token]}},
    }


BYTES_END = 256 + len(toy.MERGES)
CONTROL = ["<|begin|>", "<|im_start|>", "<|im_end|>", "<｜User｜>"]


def byte_level(**changes: Any) -> dict[str, Any]:
    """Byte-level BPE; the last control token is not marked as one, as in some published files."""
    tokens = [*toy.BYTES, *(merge.replace(" ", "") for merge in toy.MERGES)]
    specials = [added(BYTES_END + i, text) for i, text in enumerate(CONTROL)]
    specials[-1] |= {"special": False, "normalized": True}
    think = len(tokens) + len(CONTROL)
    specials += [added(think, "<think>", special=False), added(think + 1, "  ", special=False)]
    stages = [split(pattern) for pattern in SPLITS["qwen2"].patterns]
    fields: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": specials,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [*stages, {**BYTE_TAIL, "use_regex": False}],
        },
        "post_processor": before("<|begin|>"),
        "decoder": BYTE_DECODER,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in toy.MERGES],
        },
    }
    return {**fields, **changes}


def blocks(**changes: Any) -> dict[str, Any]:
    """BPE with a block for each space and bytes for unknown characters."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [*toy.LETTERS, "▁t", "he", "▁the", "▁c", "at", "▁cat", "▁▁"]
    merges = [["▁", "t"], ["h", "e"], ["▁t", "he"], ["▁", "c"], ["a", "t"], ["▁c", "at"]]
    merges += [["▁", "▁"]]
    fields: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [added(i, text) for i, text in enumerate(tokens[:3])]
        + [added(len(tokens), "[TOOL]", rstrip=True), added(len(tokens) + 1, "▁▁▁", special=False)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": BLOCK},
                {"type": "Replace", "pattern": {"String": " "}, "content": BLOCK},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": BLOCK}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [" ".join(merge) for merge in merges],
        },
    }
    return {**fields, **changes}


def metaspace(scheme: str, **changes: Any) -> dict[str, Any]:
    """The same vocabulary with the space put by the pre-tokenizer."""
    stage = {"type": "Metaspace", "replacement": BLOCK, "prepend_scheme": scheme, "split": False}
    return blocks(normalizer=None, pre_tokenizer=stage, **changes)


def spaces_kept(**changes: Any) -> dict[str, Any]:
    """The same vocabulary with no space put anywhere."""
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": BLOCK}
    decoders = blocks()["decoder"]["decoders"][:3]
    cut = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    return blocks(
        normalizer=replaced,
        pre_tokenizer=cut,
        decoder={"type": "Sequence", "decoders": decoders},
        **changes,
    )


def as_text(fields: dict[str, Any]) -> str:
    """The file's text."""
    return json.dumps(fields)
