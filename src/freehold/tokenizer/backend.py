"""Building the library's tokenizer from a checked vocabulary: words, merges, bytes.

Room: tokenizer. Knows the `tokenizers` library and both kinds of BPE; must not know metadata keys
or which text is a control token.

Control, unknown and unused tokens are left out of what is built. No text can then become one of
them, whatever it says: only `SpecialTokens`, asked to, turns text into a control token.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np
import tokenizers
from tokenizers import models

from freehold.errors import BadTokenizer
from freehold.tokenizer.splits import WordSplit
from freehold.tokenizer.vocabulary import Kind, Vocabulary

__all__ = ["REFUSED_AS_TEXT", "LibraryRefusal", "byte_level", "checked_merges", "sentence_piece"]

# Kinds that no text may be merged into.
REFUSED_AS_TEXT = (Kind.UNDEFINED, Kind.UNKNOWN, Kind.CONTROL, Kind.UNUSED)

# Deriving merges looks at every split of every token: the sum of squared lengths. The largest
# published sentence-piece vocabulary, of 262,144 tokens, needs 2e7.
_MAX_SPLIT_WORK = 500_000_000


class LibraryRefusal:
    """Turns the library's refusal of its input into BadTokenizer.

    The library raises exactly `Exception` for bad input, which cannot be caught by name without
    catching everything else too.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is Exception or (kind is not None and kind.__name__ == "PanicException"):
            raise BadTokenizer(f"{self._what} is refused", found=str(error)[:200]) from None


def byte_level(vocabulary: Vocabulary, split: WordSplit) -> tokenizers.Tokenizer:
    """BPE over the byte alphabet, with the file's merges in their order.

    Raises: BadTokenizer for a merge of, or into, what is no token.
    """
    if not vocabulary.merges:
        raise BadTokenizer(
            "tokenizer.ggml.merges: the file has no merges", expected="the merges of a BPE model"
        )
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    hidden = _hide(ids, vocabulary, REFUSED_AS_TEXT)
    field = "tokenizer.ggml.merges"
    pairs = [(left, right) for left, _, right in (m.partition(" ") for m in vocabulary.merges)]
    _check_distinct(pairs, field)

    def model(merges: list[tuple[str, str]]) -> models.BPE:
        with LibraryRefusal(field):
            return models.BPE(vocab=ids, merges=merges, ignore_merges=split.whole_words)

    try:
        built = tokenizers.Tokenizer(model(pairs))
    except BadTokenizer:
        # The library too wants tokens merged into tokens, but neither says where, nor knows which
        # are left out on purpose.
        built = tokenizers.Tokenizer(model(checked_merges(pairs, ids, hidden, field)))
    normalizer = split.normalizer()
    if normalizer is not None:
        built.normalizer = normalizer
    built.pre_tokenizer = split.pre_tokenizer()
    return built


def _hide(ids: dict[str, int], vocabulary: Vocabulary, kinds: tuple[Kind, ...]) -> set[str]:
    """Take the tokens of these kinds out of `ids`. Mutates: ids."""
    hidden = {vocabulary.tokens[index] for index in vocabulary.ids_of(*kinds)}
    for token in hidden:
        del ids[token]
    return hidden


def checked_merges(
    merges: Sequence[tuple[str, str]], ids: dict[str, int], hidden: set[str], field: str
) -> list[tuple[str, str]]:
    """The merges of tokens into tokens, in their order; those of a hidden token are left out.

    Raises: BadTokenizer for a merge of, or into, what is no token, and for one that comes twice.
    """
    _check_distinct(merges, field)
    # One string object per token, not per mention: a merge list mentions each many times.
    known = {token: token for token in ids}
    pairs = []
    for rank, (left, right) in enumerate(merges):
        if left in ids and right in ids and left + right in ids:
            pairs.append((known[left], known[right]))
        elif hidden.isdisjoint((left, right, left + right)):
            merge = f"{left} {right}"
            raise BadTokenizer(
                f"{field}: merge {rank} is not of tokens into a token",
                value=merge,
                expected="two tokens, one space between, that joined are a token",
                found=repr(merge[:80]),
            )
    return pairs


def _check_distinct(merges: Sequence[tuple[str, str]], field: str) -> None:
    repeated = len(merges) - len(set(merges))
    if repeated:
        raise BadTokenizer(
            f"{field}: a merge appears twice",
            expected="each merge once",
            found=f"{repeated} repeated",
        )


def sentence_piece(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    """Sentence-piece BPE: merges recovered from the scores, unknown characters spelled in bytes.

    Where two splits of one token are possible at two places, the score alone does not say which
    is merged first; the left place wins in sentence-piece and the longer left half does here.

    Raises: BadTokenizer without scores, or when a character could be lost.
    """
    if not vocabulary.scores.size:
        raise BadTokenizer("tokenizer.ggml.scores: is missing", expected="one score per token")
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    unknown = _unknown_token(vocabulary)
    hidden = _hide(ids, vocabulary, REFUSED_AS_TEXT)
    if unknown in hidden:
        ids[unknown] = vocabulary.roles["unknown"]
    merges = _derived_merges(vocabulary, ids, never={unknown})
    with LibraryRefusal("tokenizer.ggml.tokens"):
        model = models.BPE(
            vocab=ids, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True
        )
    return tokenizers.Tokenizer(model)


def _unknown_token(vocabulary: Vocabulary) -> str:
    spelled = {f"<0x{byte:02X}>" for byte in range(256)}
    bytes_found = {vocabulary.tokens[index] for index in vocabulary.ids_of(Kind.BYTE)}
    if not bytes_found <= spelled:
        raise BadTokenizer(
            "tokenizer.ggml.tokens: a byte token is misspelled",
            expected="<0x00> to <0xFF>",
            found=repr(min(bytes_found - spelled)[:80]),
        )
    unknown = vocabulary.roles.get("unknown")
    if unknown is None or vocabulary.kinds[unknown] not in REFUSED_AS_TEXT:
        raise BadTokenizer(
            "tokenizer.ggml.unknown_token_id: no token stands for unknown characters",
            expected="the id of a token of type unknown or control",
            found="nothing" if unknown is None else repr(vocabulary.tokens[unknown][:80]),
        )
    return vocabulary.tokens[unknown]


def _derived_merges(
    vocabulary: Vocabulary, ids: dict[str, int], never: set[str]
) -> list[tuple[str, str]]:
    """Every split of every token into two tokens, best score first."""
    lengths = np.fromiter(map(len, vocabulary.tokens), np.int64, len(vocabulary.tokens))
    if int(np.square(lengths).sum()) > _MAX_SPLIT_WORK:
        raise BadTokenizer(
            "tokenizer.ggml.tokens: the tokens are too long to derive merges from",
            expected=f"squared lengths that sum to at most {_MAX_SPLIT_WORK}",
            found=f"{int(np.square(lengths).sum())}",
        )
    never = never | {vocabulary.tokens[index] for index in vocabulary.ids_of(Kind.BYTE)}
    merges = []
    for index in np.argsort(-vocabulary.scores, kind="stable").tolist():
        token = vocabulary.tokens[index]
        if token not in ids or token in never:
            continue
        for at in range(len(token) - 1, 0, -1):
            left, right = token[:at], token[at:]
            if left in ids and right in ids and never.isdisjoint((left, right)):
                merges.append((left, right))
    return merges
