"""From a model file's metadata to its tokenizer.

Room: tokenizer. Decides which parts a file needs; must not know how they work.
"""

from __future__ import annotations

import numpy as np

from freehold.errors import BadTokenizer
from freehold.tokenizer.backend import REFUSED_AS_TEXT, byte_level, sentence_piece
from freehold.tokenizer.ends import ending_ids
from freehold.tokenizer.packaged import packaged_cutter
from freehold.tokenizer.special import SpecialTokens
from freehold.tokenizer.splits import split_named
from freehold.tokenizer.tokenizer import Cutter, Facts, PlainCutter, Tokenizer
from freehold.tokenizer.vocabulary import (
    BYTE_LEVEL,
    Kind,
    Metadata,
    Vocabulary,
    read_vocabulary,
)

__all__ = ["tokenizer_from_gguf", "tokenizer_from_vocabulary"]


def tokenizer_from_gguf(metadata: Metadata) -> Tokenizer:
    """The tokenizer that a GGUF file's metadata describe.

    Lists may be Python lists or NumPy arrays. `tokenizer.huggingface.json` is used where the file
    carries it, after checking that it agrees with the token list.

    Raises: UnknownTokenizer for a kind, or a way of cutting words, that cannot be reproduced
    exactly; BadTokenizer naming the field that contradicts the others.
    """
    vocabulary = read_vocabulary(metadata)
    packaged = metadata.get("tokenizer.huggingface.json")
    if packaged is not None:
        cutter: Cutter = packaged_cutter(packaged, vocabulary)
    else:
        cutter = _plain_cutter(vocabulary)
    return Tokenizer(cutter, _facts(vocabulary))


def tokenizer_from_vocabulary(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer of a checked vocabulary. Raises: UnknownTokenizer, BadTokenizer."""
    return Tokenizer(_plain_cutter(vocabulary), _facts(vocabulary))


def _plain_cutter(vocabulary: Vocabulary) -> PlainCutter:
    if vocabulary.model == BYTE_LEVEL:
        library = byte_level(vocabulary, split_named(vocabulary.pre))
    else:
        library = sentence_piece(vocabulary)
    return PlainCutter(
        special=SpecialTokens.of(vocabulary),
        library=library,
        adds_space=_adds_space(vocabulary),
        hidden={i: vocabulary.tokens[i] for i in vocabulary.ids_of(*REFUSED_AS_TEXT)},
    )


def _adds_space(vocabulary: Vocabulary) -> bool | None:
    if vocabulary.model == BYTE_LEVEL:
        if vocabulary.adds_space:
            raise BadTokenizer(
                "tokenizer.ggml.add_space_prefix: byte-level vocabularies add no space",
                expected="false",
                found="true",
            )
        return None
    return vocabulary.adds_space is not False


def _adds_bos(vocabulary: Vocabulary) -> bool:
    adds = vocabulary.adds_bos
    has = "bos" in vocabulary.roles
    if adds and not has:
        raise BadTokenizer(
            "tokenizer.ggml.add_bos_token: is true, but the file names no such token",
            expected="tokenizer.ggml.bos_token_id",
            found="nothing",
        )
    if adds is None:
        by_kind = vocabulary.model != BYTE_LEVEL or split_named(vocabulary.pre).adds_bos
        return by_kind and has
    return adds


def _eos_ids(vocabulary: Vocabulary) -> frozenset[int]:
    control = {vocabulary.tokens[i]: i for i in vocabulary.ids_of(Kind.CONTROL)}
    named = [vocabulary.roles[role] for role in ("eos", "eot", "eom") if role in vocabulary.roles]
    return ending_ids(control) | frozenset(named)


def _facts(vocabulary: Vocabulary) -> Facts:
    special = frozenset(vocabulary.ids_of(Kind.CONTROL, Kind.UNKNOWN))
    adds_eos = vocabulary.adds_eos
    if adds_eos and "eos" not in vocabulary.roles:
        raise BadTokenizer(
            "tokenizer.ggml.add_eos_token: is true, but the file names no such token",
            expected="tokenizer.ggml.eos_token_id",
            found="nothing",
        )
    byte_level_model = vocabulary.model == BYTE_LEVEL
    misplaced = np.flatnonzero(vocabulary.kinds == Kind.BYTE)
    if byte_level_model and misplaced.size:
        raise BadTokenizer(
            "tokenizer.ggml.token_type: a byte-level vocabulary has byte tokens of the other kind",
            expected="no token of type 6",
            found=f"one at {int(misplaced[0])}",
        )
    return Facts(
        vocab_size=len(vocabulary.tokens),
        bos_id=vocabulary.roles.get("bos"),
        eos_id=vocabulary.roles.get("eos"),
        eos_ids=_eos_ids(vocabulary),
        adds_bos=_adds_bos(vocabulary),
        adds_eos=adds_eos,
        drops_first_space=bool(_adds_space(vocabulary)),
        byte_level=byte_level_model,
        verbatim=special | frozenset(vocabulary.ids_of(Kind.USER_DEFINED)),
        special=special,
    )
