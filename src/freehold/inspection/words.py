"""What a tokenizer is like: its vocabulary, its special tokens, and how it cuts several languages.

Room: inspection. Knows a tokenizer's face and the two forms in which files describe one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.formats.json_file import VOCABULARY, read_json_object
from freehold.tokenizer import EncoderTokenizer, Tokenizer

__all__ = ["SAMPLES", "Cut", "Special", "TokenizerFacts", "tokenizer_facts"]

# The first article of the Universal Declaration of Human Rights: the same words in each.
SAMPLES = {
    "English": "All human beings are born free and equal in dignity and rights.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों में स्वतन्त्रता और समानता प्राप्त है।",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、"
    "尊厳と権利とについて平等である。",
    "Python": "def area(radius: float) -> float:\n    return 3.14159 * radius**2\n",
}
_UNSPACED = frozenset({"Chinese", "Japanese"})
_TRICKY = "  two  spaces\ttab\n\n1,234.50 € naïve 👩‍💻 x=[1]; don't"
_SPECIALS = 64
_KINDS = ("undefined", "normal", "unknown", "control", "user-defined", "unused", "byte")
_ROLES = ("bos", "eos", "eot", "eom", "unknown", "padding")


@dataclass(frozen=True)
class Special:
    """A token that is not part of the text, and what the file uses it for."""

    id: int
    text: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Cut:
    """A sample line as tokens. `per_word` is None where words are not set apart by spaces.

    `whole` says whether decoding gives the line back; None where the tokenizer only encodes.
    """

    language: str
    count: int
    tokens: tuple[str, ...]
    per_word: float | None
    bytes_per_token: float
    whole: bool | None


@dataclass(frozen=True)
class TokenizerFacts:
    """A tokenizer in figures; `kinds` counts its tokens by what they are for."""

    kind: str
    splitting: str
    size: int
    merges: int
    kinds: Mapping[str, int]
    specials: tuple[Special, ...]
    specials_in_all: int
    adds_bos: bool | None
    ends: tuple[int, ...]
    longest: str
    cuts: tuple[Cut, ...]
    tricky_whole: bool | None


def tokenizer_facts(
    path: Path, metadata: Mapping[str, object], tokenizer: Tokenizer | EncoderTokenizer
) -> TokenizerFacts:
    """The facts of a model's tokenizer, which was built from the file or directory at `path`.

    Raises: FormatError for a tokenizer.json that cannot be read.
    """
    kind, splitting, merges = _described(path, metadata)
    cuts = tuple(_cut(tokenizer, language, line) for language, line in SAMPLES.items())
    if isinstance(tokenizer, EncoderTokenizer):
        return TokenizerFacts(
            kind, splitting, tokenizer.vocab_size, merges, {}, (), 0, None, (), "", cuts, None
        )
    special = [i for i in range(tokenizer.vocab_size) if tokenizer.is_special(i)]
    roles = _roles(metadata, tokenizer)
    return TokenizerFacts(
        kind=kind,
        splitting=splitting,
        size=tokenizer.vocab_size,
        merges=merges,
        kinds=_kinds(metadata, tokenizer.vocab_size, len(special)),
        specials=tuple(
            Special(i, tokenizer.token(i), roles.get(i, ()))
            for i in sorted({*roles, *special[:_SPECIALS]})
        ),
        specials_in_all=len(special),
        adds_bos=tokenizer.adds_bos,
        ends=tuple(sorted(tokenizer.eos_ids)),
        longest=max((tokenizer.token(i) for i in range(tokenizer.vocab_size)), key=len)[:120],
        cuts=cuts,
        tricky_whole=_decoded(tokenizer, tokenizer.encode(_TRICKY, add_bos=False)) == _TRICKY,
    )


def _described(path: Path, metadata: Mapping[str, object]) -> tuple[str, str, int]:
    """Kind, way of splitting words, number of merges, as the files say."""
    model = metadata.get("tokenizer.ggml.model")
    if isinstance(model, str):
        merges = metadata.get("tokenizer.ggml.merges", ())
        pre = metadata.get("tokenizer.ggml.pre")
        kinds = {True: "byte-level BPE", False: "sentence-piece BPE"}
        count = len(merges) if isinstance(merges, tuple) else 0
        byte_level = count > 0 and "tokenizer.ggml.scores" not in metadata
        return kinds[byte_level], pre if isinstance(pre, str) else "", count
    file = path / "tokenizer.json"
    if not file.is_file():
        return "the maker's own file", "", 0
    said: dict[str, Any] = read_json_object(file, limits=VOCABULARY)
    inner, pre = said.get("model"), said.get("pre_tokenizer")
    inner = inner if isinstance(inner, dict) else {}
    splitting = pre.get("type") if isinstance(pre, dict) else ""
    merges = inner.get("merges")
    count = len(merges) if isinstance(merges, list) else 0
    return str(inner.get("type") or "BPE")[:40], str(splitting or "")[:40], count


def _kinds(metadata: Mapping[str, object], size: int, special: int) -> dict[str, int]:
    told = metadata.get("tokenizer.ggml.token_type")
    if told is None:
        return {"normal": size - special, "control": special}
    counts = Counter(int(kind) for kind in told)  # type: ignore[attr-defined]
    return {_KINDS[kind]: count for kind, count in sorted(counts.items())}


def _roles(metadata: Mapping[str, object], tokenizer: Tokenizer) -> dict[int, tuple[str, ...]]:
    roles: dict[int, tuple[str, ...]] = {}
    named = {role: metadata.get(f"tokenizer.ggml.{role}_token_id") for role in _ROLES}
    named |= {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id}
    for role, token in named.items():
        if token is not None:
            roles[int(token)] = (*roles.get(int(token), ()), role)  # type: ignore[call-overload]
    for token in tokenizer.eos_ids:
        roles[token] = (*roles.get(token, ()), "ends an answer")
    return roles


def _cut(tokenizer: Tokenizer | EncoderTokenizer, language: str, line: str) -> Cut:
    if isinstance(tokenizer, EncoderTokenizer):
        ids, whole = tokenizer.encode(line), None
        pieces: tuple[str, ...] = ()
    else:
        ids = tokenizer.encode(line, add_bos=False)
        pieces = tuple(tokenizer.token_bytes(i).decode("utf-8", "replace") for i in ids)
        whole = _decoded(tokenizer, ids) == line
    count = max(len(ids), 1)
    spaced = language not in _UNSPACED
    return Cut(
        language,
        len(ids),
        pieces,
        count / len(line.split()) if spaced else None,
        len(line.encode()) / count,
        whole,
    )


def _decoded(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special=False)
