"""Small vocabularies, as a model file's metadata would hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

from freehold.tokenizer.tokenizer import ALPHABET
from freehold.tokenizer.vocabulary import Kind

# The 256 bytes, then what the merges make.
BYTES = sorted(ALPHABET, key=lambda character: ALPHABET[character])
# `Ġwor ld` comes before the merge that makes `ld`: a file may order them so.
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ġwor ld", "l d", "1 2", "12 3"]
CONTROL = ["<s>", "</s>", "<|im_end|>", "<|begin▁x｜>"]
ADDED = ["<think>", "</think>", "  "]


def metadata(**fields: Any) -> dict[str, Any]:
    """`tokenizer.ggml.` before every name; None takes a field away."""
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items() if value is not None}


def byte_level(**changes: Any) -> dict[str, Any]:
    """A byte-level vocabulary: 256 bytes, merges, four control tokens, three added ones."""
    made = [merge.replace(" ", "") for merge in MERGES]
    tokens = [*BYTES, *made, *CONTROL, *ADDED]
    first_control = 256 + len(made)
    kinds = np.full(len(tokens), Kind.NORMAL, np.int32)
    kinds[first_control:] = Kind.CONTROL
    kinds[first_control + len(CONTROL) :] = Kind.USER_DEFINED
    fields: dict[str, Any] = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": kinds,
        "merges": MERGES,
        "bos_token_id": first_control,
        "eos_token_id": first_control + 1,
        "add_bos_token": False,
    }
    return metadata(**{**fields, **changes})


# Scores fall with the id, as trainers write them.
PIECES = ["▁t", "he", "▁the", "in", "er", "▁a", "on", "re", "▁c", "at", "▁cat", "or", "▁s", "sat"]
LETTERS = list("▁etaoinshrlducmfwypvbgkjqxz.,!é")


def sentence_piece(**changes: Any) -> dict[str, Any]:
    """A sentence-piece vocabulary: three control tokens, 256 bytes, pieces, letters, one added."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [Kind.UNKNOWN, Kind.CONTROL, Kind.CONTROL, *[Kind.BYTE] * 256]
    scores = [0.0] * len(tokens)
    tokens += [*PIECES, *LETTERS, "<tool>"]
    kinds += [*[Kind.NORMAL] * (len(PIECES) + len(LETTERS)), Kind.USER_DEFINED]
    scores += [-float(rank) for rank in range(len(PIECES) + len(LETTERS))] + [0.0]
    fields: dict[str, Any] = {
        "model": "llama",
        "tokens": tokens,
        "scores": np.array(scores, np.float32),
        "token_type": [int(kind) for kind in kinds],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    return metadata(**{**fields, **changes})
