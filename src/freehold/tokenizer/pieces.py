"""A sentence-piece model file: its pieces, and how it prepares text.

Room: tokenizer. Reads the few fields that are needed, with every length checked; must not know how
pieces are merged. Source: sentencepiece_model.proto of SentencePiece 0.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from freehold.errors import BadTokenizer, UnknownTokenizer
from freehold.tokenizer.build import tokenizer_from_vocabulary
from freehold.tokenizer.tokenizer import Tokenizer
from freehold.tokenizer.vocabulary import (
    MAX_TOKEN_CHARS,
    MAX_TOKENS,
    SENTENCE_PIECE,
    Kind,
    Vocabulary,
    distinct,
)

__all__ = ["MAX_PIECES_BYTES", "tokenizer_from_pieces"]

# The largest published sentence-piece file has 4 MB.
MAX_PIECES_BYTES = 32 << 20

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_BPE = 2


def tokenizer_from_pieces(data: bytes, *, size: int = 0) -> Tokenizer:
    """The tokenizer of a sentence-piece model file's bytes.

    `size` is the number of rows the weights have, 0 where that is not known.
    Raises: BadTokenizer for bytes that are no such file; UnknownTokenizer for a model of another
    kind, or one that changes text before it cuts it.
    """
    vocabulary = _vocabulary(data)
    if size and len(vocabulary.tokens) > size:
        raise BadTokenizer(
            "the tokenizer does not belong to this model",
            expected=f"at most {size} tokens",
            found=str(len(vocabulary.tokens)),
        )
    return tokenizer_from_vocabulary(_filled(vocabulary, size))


def _filled(vocabulary: Vocabulary, size: int) -> Vocabulary:
    """The vocabulary with an unused token for each row of the weights that has none."""
    missing = range(len(vocabulary.tokens), size)
    return replace(
        vocabulary,
        tokens=distinct([*vocabulary.tokens, *(f"[UNUSED_{index}]" for index in missing)]),
        kinds=np.append(vocabulary.kinds, np.full(len(missing), Kind.UNUSED, np.uint8)),
        scores=np.append(vocabulary.scores, np.zeros(len(missing), np.float32)),
    )


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: a number, or the bytes of anything longer."""

    number: int
    value: int
    data: bytes


def _fields(data: bytes, where: str) -> Iterator[_Field]:
    """The fields of a message in order. Raises: BadTokenizer."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at, where)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise _broken(where, "a field has the number 0")
        if wire == _VARINT:
            value, at = _varint(data, at, where)
            yield _Field(number, value, b"")
            continue
        if wire == _BYTES:
            length, at = _varint(data, at, where)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise _broken(where, f"a field of wire type {wire}")
        if length > len(data) - at:
            raise _broken(where, f"a field of {length} bytes where {len(data) - at} are left")
        yield _Field(number, 0, data[at : at + length])
        at += length


def _varint(data: bytes, at: int, where: str) -> tuple[int, int]:
    """A number of at most 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _broken(where, "the file ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at
    raise _broken(where, "a number of more than 64 bits")


def _broken(where: str, found: str) -> BadTokenizer:
    return BadTokenizer(
        f"{where}: this is no sentence-piece model",
        expected="a protocol buffer as SentencePiece writes it",
        found=found,
        hint="the file is damaged or hostile",
    )


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


@dataclass(slots=True)
class _Trainer:
    """What is needed of how the model was made. Defaults are the format's."""

    model_type: int = 1
    suffix: bool = False
    unknown: int = 0
    bos: int = 1
    eos: int = 2


@dataclass(slots=True)
class _Normalizer:
    """How text is prepared. Defaults are the format's."""

    charsmap: bool = False
    dummy_prefix: bool = True
    removes_spaces: bool = True
    escapes: bool = True
    rules: bool = False


def _vocabulary(data: bytes) -> Vocabulary:
    pieces: list[tuple[str, float, Kind]] = []
    trainer, normalizer = _Trainer(), _Normalizer()
    for field in _fields(data, "model"):
        if field.number == _PIECES:
            if len(pieces) == MAX_TOKENS:
                raise _broken("pieces", f"more than {MAX_TOKENS}")
            pieces.append(_piece(field.data))
        elif field.number == _TRAINER:
            _read_trainer(field.data, trainer)
        elif field.number == _NORMALIZER:
            _read_normalizer(field.data, normalizer)
        elif field.number not in (4, 5):  # self-tests; how decoded text is changed back
            raise _broken("model", f"a field of the number {field.number}")
    if not pieces:
        raise _broken("pieces", "none")
    _check_kind(trainer, normalizer)
    roles = {"unknown": trainer.unknown, "bos": trainer.bos, "eos": trainer.eos}
    for role, index in roles.items():
        if not 0 <= index < len(pieces):
            raise BadTokenizer(
                f"trainer_spec: the {role} piece is none of the pieces",
                expected=f"0 to {len(pieces) - 1}",
                found=str(index),
            )
    return Vocabulary(
        model=SENTENCE_PIECE,
        pre=None,
        tokens=distinct([text for text, _, _ in pieces]),
        kinds=np.array([kind for _, _, kind in pieces], np.uint8),
        scores=np.array([score for _, score, _ in pieces], np.float32),
        merges=[],
        roles=roles,
        adds_bos=True,
        adds_eos=False,
        adds_space=normalizer.dummy_prefix,
    )


def _piece(data: bytes) -> tuple[str, float, Kind]:
    text, score, kind = "", 0.0, int(Kind.NORMAL)
    for field in _fields(data, "pieces"):
        if field.number == 1:
            try:
                text = field.data.decode()
            except UnicodeDecodeError:
                raise _broken("pieces", "a piece that is not UTF-8") from None
        elif field.number == 2 and len(field.data) == 4:
            (score,) = struct.unpack("<f", field.data)
        elif field.number == 3:
            kind = field.value
        else:
            raise _broken("pieces", f"a field of the number {field.number}")
    if len(text) > MAX_TOKEN_CHARS or not np.isfinite(score) or not 1 <= kind <= 6:
        raise _broken("pieces", "a piece of a length, score or type that none has")
    return text, score, Kind(kind)


def _read_trainer(data: bytes, trainer: _Trainer) -> None:
    """What decides about text; the rest is how it was trained. Mutates: trainer."""
    for field in _fields(data, "trainer_spec"):
        match field.number:
            case 3:
                trainer.model_type = field.value
            case 24:
                trainer.suffix = bool(field.value)
            case 40:
                trainer.unknown = _signed(field.value)
            case 41:
                trainer.bos = _signed(field.value)
            case 42:
                trainer.eos = _signed(field.value)


def _read_normalizer(data: bytes, normalizer: _Normalizer) -> None:
    """Mutates: normalizer."""
    for field in _fields(data, "normalizer_spec"):
        match field.number:
            case 1:
                pass  # a name for what the rules say
            case 2:
                normalizer.charsmap = bool(field.data)
            case 3:
                normalizer.dummy_prefix = bool(field.value)
            case 4:
                normalizer.removes_spaces = bool(field.value)
            case 5:
                normalizer.escapes = bool(field.value)
            case 6:
                normalizer.rules = bool(field.data)
            case number:
                raise _broken("normalizer_spec", f"a field of the number {number}")


def _check_kind(trainer: _Trainer, normalizer: _Normalizer) -> None:
    """Raises: UnknownTokenizer for what is not carried."""
    for wrong, what, expected in (
        (trainer.model_type != _BPE, "trainer_spec.model_type", "2 (BPE)"),
        (trainer.suffix, "trainer_spec.treat_whitespace_as_suffix", "false"),
        (normalizer.charsmap or normalizer.rules, "normalizer_spec: rules", "none (identity)"),
        (normalizer.removes_spaces, "normalizer_spec.remove_extra_whitespaces", "false"),
        (not normalizer.escapes, "normalizer_spec.escape_whitespaces", "true"),
    ):
        if wrong:
            raise UnknownTokenizer(
                f"{what}: is of a kind that is not carried",
                expected=expected,
                found="another",
                hint="the same model's tokenizer.json may be carried",
            )
