"""What a GGUF file says of a directory's tokenizer, templates and recommended sampling.

Room: loading. The vocabulary is written from tokenizer.json, read again as GGUF, and refused unless
both cut texts alike. Byte-level vocabularies only: those of sentence pieces need scores that
tokenizer.json does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from freehold.errors import BadTokenizer, UnknownTokenizer
from freehold.formats.json_file import VOCABULARY, read_json_object
from freehold.loading.generation import sampling_keys
from freehold.loading.text import read_text_side
from freehold.tokenizer import Tokenizer, split_name_of, tokenizer_from_gguf

__all__ = ["vocabulary_keys"]

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
_PROBES = (
    "The quick brown fox, 1234567 times: it's what's said -- isn't it?\n\n\tif x == 10:\n",
    "Größe naïve 日本語のテキスト Привет мир 🙂🙂 ﬁ e\u0301",
    "   leading and trailing   ",
    "a" * 40 + "\r\n" + "=" * 20 + " $3.14 <tag> </tag> foo_bar fooBar FOOBar",
)


def vocabulary_keys(folder: Path, size: int) -> dict[str, Any]:
    """`tokenizer.*` and `general.sampling.*` for a directory whose weights have `size` rows.

    Raises: UnknownTokenizer for what GGUF cannot say or what would be cut otherwise; FormatError,
    BadConfig, BadTokenizer.
    """
    text = read_text_side(folder)
    if not (folder / "tokenizer.json").is_file():
        raise UnknownTokenizer(
            "only a directory with a tokenizer.json can be written as GGUF yet",
            expected="tokenizer.json",
            found="no such file",
        )
    fields = read_json_object(folder / "tokenizer.json", limits=VOCABULARY)
    keys = _keys(fields, text.tokenizer, size) | dict(text.templates)
    _compare(text.tokenizer, tokenizer_from_gguf(keys))
    return keys | sampling_keys(text.suggested)


def _keys(fields: Mapping[str, Any], tokenizer: Tokenizer, size: int) -> dict[str, Any]:
    model = fields.get("model")
    if not isinstance(model, dict) or model.get("byte_fallback"):
        raise UnknownTokenizer(
            "vocabularies of sentence pieces cannot be written as GGUF yet",
            expected="a byte-level vocabulary",
            found="byte_fallback",
            hint="start from a GGUF file of the model",
        )
    added = {token["id"]: token["content"] for token in fields.get("added_tokens") or ()}
    tokens, kinds = [], []
    for token_id in range(size):
        spelled = tokenizer.token(token_id) if token_id < tokenizer.vocab_size else ""
        tokens.append(spelled or f"[PAD{token_id}]")
        if not spelled:
            kinds.append(_UNUSED)
        elif tokenizer.is_special(token_id):
            kinds.append(_CONTROL)
        else:
            kinds.append(_USER_DEFINED if token_id in added else _NORMAL)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model.get("merges") or ()]
    keys: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": split_name_of(fields),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.asarray(kinds, np.int32),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.add_bos_token": tokenizer.adds_bos,
    }
    if tokenizer.adds_eos:
        keys["tokenizer.ggml.add_eos_token"] = True
    for role, named in (("bos", tokenizer.bos_id), ("eos", tokenizer.eos_id)):
        if named is not None:
            keys[f"tokenizer.ggml.{role}_token_id"] = named
    further = sorted(tokenizer.eos_ids - {tokenizer.eos_id})
    for role, token_id in zip(("eot", "eom"), further, strict=False):
        keys[f"tokenizer.ggml.{role}_token_id"] = token_id
    return keys


def _compare(own: Tokenizer, written: Tokenizer) -> None:
    """Raises: UnknownTokenizer where the two cut a text otherwise."""
    for probe in _PROBES:
        for special in (False, True):
            if own.encode(probe, parse_special=special) != written.encode(
                probe, parse_special=special
            ):
                raise UnknownTokenizer(
                    "GGUF has no name for the way in which this tokenizer cuts words",
                    expected="the same tokens from tokenizer.json and from the new file",
                    found="others",
                    hint="start from a GGUF file of the model",
                )
    if (own.bos_id, own.eos_ids) != (written.bos_id, written.eos_ids):
        raise BadTokenizer(
            "GGUF cannot name all tokens that end this model's answers",
            expected=f"{sorted(own.eos_ids)}",
            found=f"{sorted(written.eos_ids)}",
        )
