"""What a model file says about its tokenizer, checked before anything is built from it.

Room: tokenizer. Knows GGUF's metadata keys; must not know how text is cut or merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadTokenizer, UnknownTokenizer

__all__ = [
    "BYTE_LEVEL",
    "MAX_MERGES",
    "MAX_TOKENS",
    "MAX_TOKEN_CHARS",
    "SENTENCE_PIECE",
    "Kind",
    "Metadata",
    "Vocabulary",
    "distinct",
    "read_vocabulary",
]

Metadata = Mapping[str, object]

BYTE_LEVEL: Final = "gpt2"
SENTENCE_PIECE: Final = "llama"

# Four times the largest vocabulary and merge list published so far.
MAX_TOKENS = 1 << 20
MAX_MERGES = 1 << 22
MAX_TOKEN_CHARS = 4096
_MAX_VOCABULARY_CHARS = 1 << 26


class Kind(IntEnum):
    """What a token is for: `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# Ids that older sentence-piece files leave unsaid.
_SENTENCE_PIECE_IDS = {"unknown": 0, "bos": 1, "eos": 2}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A file's tokenizer metadata, consistent within itself.

    Shapes: `tokens`, `kinds` and `scores` have one entry per id; `scores` is empty when absent.
    `roles` maps bos, eos, eot, eom, unknown, padding to ids, where the file gives them.
    """

    model: str
    pre: str | None
    tokens: list[str]  # (V,)
    kinds: NDArray[np.uint8]  # (V,)
    scores: NDArray[np.float32]  # (V,) or (0,)
    merges: list[str]
    roles: Mapping[str, int]
    adds_bos: bool | None
    adds_eos: bool
    adds_space: bool | None

    def ids_of(self, *kinds: Kind) -> list[int]:
        """The ids of the tokens of these kinds, ascending."""
        found: list[int] = np.flatnonzero(np.isin(self.kinds, kinds)).tolist()
        return found


def read_vocabulary(metadata: Metadata) -> Vocabulary:
    """Read and check `tokenizer.ggml.*`.

    Raises: UnknownTokenizer for a model of another kind; BadTokenizer naming the field that is
    missing, of the wrong type, too large, out of range or repeated.
    """
    model = _text(metadata, "model")
    if model not in {BYTE_LEVEL, SENTENCE_PIECE}:
        raise UnknownTokenizer(
            "tokenizer.ggml.model is of a kind that is not supported",
            value=model,
            expected=f"{BYTE_LEVEL} (byte-level BPE) or {SENTENCE_PIECE} (sentence-piece BPE)",
            found="nothing" if model is None else repr(model[:80]),
        )
    tokens = _texts(metadata, "tokens", most=MAX_TOKENS, longest=MAX_TOKEN_CHARS)
    if not tokens:
        raise _bad("tokens", "the file has no vocabulary", expected="a list of tokens")
    return Vocabulary(
        model=model,
        pre=_text(metadata, "pre"),
        tokens=distinct(tokens),
        kinds=_kinds(metadata, len(tokens)),
        scores=_scores(metadata, len(tokens)),
        merges=_texts(metadata, "merges", most=MAX_MERGES, longest=2 * MAX_TOKEN_CHARS + 1),
        roles=_roles(metadata, model, len(tokens)),
        adds_bos=_flag(metadata, "add_bos_token"),
        adds_eos=bool(_flag(metadata, "add_eos_token")),
        adds_space=_flag(metadata, "add_space_prefix"),
    )


def _bad(
    field: str, message: str, *, value: object = None, expected: str = "", found: str = ""
) -> BadTokenizer:
    text = f"tokenizer.ggml.{field}: {message}"
    return BadTokenizer(text, value=value, expected=expected, found=found)


def _text(metadata: Metadata, field: str) -> str | None:
    value = metadata.get(f"tokenizer.ggml.{field}")
    if value is None or isinstance(value, str):
        return value
    raise _bad(field, "is not a string", expected="a string", found=type(value).__name__)


def _flag(metadata: Metadata, field: str) -> bool | None:
    value = metadata.get(f"tokenizer.ggml.{field}")
    if value is None or isinstance(value, bool):
        return value
    raise _bad(field, "is not a boolean", expected="a boolean", found=type(value).__name__)


def _texts(metadata: Metadata, field: str, *, most: int, longest: int) -> list[str]:
    """A list of strings within its limits; the metadata's own list, not a copy, where it is one."""
    values = metadata.get(f"tokenizer.ggml.{field}", [])
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise _bad(field, "is not a list", expected="strings", found=type(values).__name__)
    if len(values) > most:
        raise _bad(
            field, "has too many entries", expected=f"at most {most}", found=f"{len(values)}"
        )
    if not all(issubclass(kind, str) for kind in set(map(type, values))):
        index, value = next((i, v) for i, v in enumerate(values) if not isinstance(v, str))
        found = f"{type(value).__name__} at {index}"
        raise _bad(field, "holds what is no string", expected="strings", found=found)
    lengths = list(map(len, values))
    if lengths and max(lengths) > longest:
        index = next(i for i, length in enumerate(lengths) if length > longest)
        found = f"{lengths[index]} at {index}"
        raise _bad(field, "an entry is too long", expected=f"<= {longest}", found=found)
    total = sum(lengths)
    if total > _MAX_VOCABULARY_CHARS:
        expected = f"at most {_MAX_VOCABULARY_CHARS} characters"
        raise _bad(field, "is too large", expected=expected, found=f"{total}")
    return values if isinstance(values, list) else list(values)


def distinct(tokens: list[str]) -> list[str]:
    """The tokens, each spelled differently; empty ones get a spelling that no text can reach.

    Raises: BadTokenizer for one that comes twice or is no text.
    """
    if "" in tokens:
        tokens = [token or f"[EMPTY_{index}]" for index, token in enumerate(tokens)]
    if len(set(tokens)) != len(tokens):
        first: dict[str, int] = {}
        for index, token in enumerate(tokens):
            if token in first:
                found = f"ids {first[token]} and {index}"
                raise _bad("tokens", "a token appears twice", value=token, found=found)
            first[token] = index
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError:
        raise _bad("tokens", "a token is not text", expected="valid Unicode") from None
    return tokens


def _numbers(metadata: Metadata, field: str, count: int) -> NDArray[np.float64] | None:
    """A list of numbers with one entry per token; float64 holds every int32 and float32 exactly."""
    values = metadata.get(f"tokenizer.ggml.{field}")
    if values is None:
        return None
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str | bytes):
        raise _bad(field, "is not a list", expected="numbers", found=type(values).__name__)
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise _bad(field, "holds what is no number", expected="numbers") from None
    if numbers.shape != (count,):
        expected = f"{count}, one per token"
        raise _bad(field, "has the wrong length", expected=expected, found=str(numbers.size))
    return numbers


def _kinds(metadata: Metadata, count: int) -> NDArray[np.uint8]:
    numbers = _numbers(metadata, "token_type", count)
    if numbers is None:
        raise _bad(
            "token_type",
            "is missing, so control tokens cannot be told from text",
            expected="one type per token",
        )
    wrong = np.flatnonzero(~np.isin(numbers, list(Kind)))
    if wrong.size:
        index = int(wrong[0])
        found = f"{numbers[index]:g} at {index}"
        raise _bad("token_type", "holds an unknown type", expected="0 to 6", found=found)
    return numbers.astype(np.uint8)


def _scores(metadata: Metadata, count: int) -> NDArray[np.float32]:
    numbers = _numbers(metadata, "scores", count)
    if numbers is None:
        return np.empty(0, np.float32)
    if np.isnan(numbers).any():
        raise _bad("scores", "holds NaN", found=f"NaN at {int(np.isnan(numbers).argmax())}")
    return numbers.astype(np.float32)


def _roles(metadata: Metadata, model: str, count: int) -> dict[str, int]:
    roles = {}
    defaults = _SENTENCE_PIECE_IDS if model == SENTENCE_PIECE else {}
    for role in ("bos", "eos", "eot", "eom", "unknown", "padding"):
        field = f"{role}_token_id"
        value = metadata.get(f"tokenizer.ggml.{field}")
        if value is None:
            value = defaults.get(role)
            if value is None or value >= count:
                continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise _bad(field, "is not an id", expected="a number", found=type(value).__name__)
        if not 0 <= value < count:
            expected = f"0 to {count - 1}"
            raise _bad(field, "is no token's id", value=value, expected=expected, found=str(value))
        roles[role] = int(value)
    return roles
