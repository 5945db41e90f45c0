"""A tokenizer.json, checked and built anew.

Room: tokenizer. Knows the file's fields; must not know the files that lie beside it.
Source: the serialised form of `tokenizers` 0.23.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import tokenizers
from tokenizers import models
from tokenizers.normalizers import Normalizer

from freehold.errors import BadTokenizer, UnknownTokenizer
from freehold.tokenizer.backend import LibraryRefusal, checked_merges
from freehold.tokenizer.part import Part
from freehold.tokenizer.parts import (
    Marks,
    Spelling,
    marks_of,
    normalizer_of,
    pre_tokenizer_of,
    spelling_of,
)
from freehold.tokenizer.special import SpecialTokens, looks_like_control
from freehold.tokenizer.tokenizer import ALPHABET
from freehold.tokenizer.vocabulary import MAX_MERGES, MAX_TOKEN_CHARS, MAX_TOKENS

__all__ = ["Added", "Described", "DescribedCutter", "added_tokens", "describe"]

_MAX_ADDED = 1 << 16


@dataclass(frozen=True, slots=True)
class Added:
    """A token that is matched whole. `control`: what no person's text may become."""

    id: int
    content: str
    control: bool
    strips: tuple[bool, bool] = (False, False)
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class Described:
    """What a tokenizer.json says. `tokens` spells every id that there is."""

    cutter: DescribedCutter
    tokens: Mapping[int, str]
    added: Mapping[int, Added]
    marks: Marks
    spelling: Spelling


class DescribedCutter:
    """Cuts text as the file says: whole tokens by our own search, the rest by the library.

    Control tokens are unknown to the library, so that no text becomes one unasked.
    """

    def __init__(
        self,
        added: Iterable[Added],
        spellings: Mapping[int, str],
        libraries: tuple[tokenizers.Tokenizer, tokenizers.Tokenizer],
        normalizer: Normalizer | None,
    ) -> None:
        added = list(added)
        late = [token for token in added if token.normalized and normalizer is not None]
        early = [token for token in added if not token.normalized or normalizer is None]
        self._early = _search(early, None)
        # Tokens that are looked for in normalized text: the library then gets that.
        self._late = _search(late, normalizer) if late else None
        self._normalizer = normalizer
        self._first, self._rest = libraries
        if self._late is None and normalizer is not None:
            for library in libraries:
                library.normalizer = normalizer
        self._spellings = spellings

    def ids(self, text: str, *, parse_special: bool) -> list[int]:
        """The ids of the text."""
        ids: list[int] = []
        leads = True
        for part in self._parts(text, parse_special=parse_special):
            if isinstance(part, int):
                ids.append(part)
            else:
                library = self._first if leads else self._rest
                # A batch of one, because that leaves the interpreter to other threads meanwhile.
                ids += library.encode_batch_fast([part], add_special_tokens=False)[0].ids
            leads = False
        return ids

    def _parts(self, text: str, *, parse_special: bool) -> Iterable[str | int]:
        parts = self._early.split(text, parse_special=parse_special)
        if self._late is None:
            return parts
        normalizer = self._normalizer
        assert normalizer is not None, "late tokens without a normalizer"
        return chain.from_iterable(
            [part]
            if isinstance(part, int)
            else self._late.split(normalizer.normalize_str(part), parse_special=parse_special)
            for part in parts
        )

    def token(self, token_id: int) -> str | None:
        """A token as the vocabulary spells it; empty for a number that no token has."""
        return self._spellings.get(token_id)


def _search(added: Iterable[Added], normalizer: Normalizer | None) -> SpecialTokens:
    def spelled(*, control: bool) -> dict[str, int]:
        found = {t.content: t.id for t in added if t.control == control}
        if normalizer is None:
            return found
        return {normalizer.normalize_str(text): token for text, token in found.items()}

    strips = {token.id: token.strips for token in added if any(token.strips)}
    return SpecialTokens(spelled(control=True), spelled(control=False), strips)


def describe(
    fields: Mapping[str, object],
    *,
    further: Iterable[Added] = (),
    control: frozenset[str] = frozenset(),
    size: int = 0,
) -> Described:
    """The tokenizer of a tokenizer.json's fields.

    `further` are tokens that the files beside it add, or mark as control, as `control` does by
    spelling; `size` is the number of rows the weights have, of which some may stand for no token.
    Raises: UnknownTokenizer for what cannot be reproduced exactly; BadTokenizer.
    """
    top = Part(fields, "tokenizer.json")
    top.ignore("version", "truncation", "padding")  # a text is never cut or padded
    normalizer = normalizer_of(top.field("normalizer"))
    model = _Model(top.field("model"))
    listed = added_tokens(top.field("added_tokens"))
    named = [Added(model.vocab[text], text, control=True) for text in control & model.vocab.keys()]
    added = _joined([*listed, *named], further, control)
    stages = [pre_tokenizer_of(top.field("pre_tokenizer"), leads=leads) for leads in (True, False)]
    cuts = stages[0][1]
    spelling = spelling_of(top.field("decoder"), cuts, byte_fallback=model.byte_fallback)
    marks = marks_of(top.field("post_processor"))
    top.finish()
    tokens = _tokens(model.vocab, added, size)
    library = model.build({t.content for t in added.values() if t.control}, spelling)
    libraries = []
    for stage, _ in stages:
        built = tokenizers.Tokenizer(library)  # both share the model's memory
        if stage is not None:
            built.pre_tokenizer = stage
        libraries.append(built)
    cutter = DescribedCutter(added.values(), tokens, (libraries[0], libraries[1]), normalizer)
    return Described(cutter, tokens, added, marks, spelling)


def added_tokens(value: object, where: str = "added_tokens") -> list[Added]:
    """Tokens in the form that tokenizer.json lists them. Raises: BadTokenizer."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MAX_ADDED:
        raise BadTokenizer(f"{where}: is not a list of at most {_MAX_ADDED} tokens")
    found = []
    for index, entry in enumerate(value):
        part = Part(entry, f"{where}[{index}]")
        content = part.field("content")
        if not isinstance(content, str) or not 0 < len(content) <= MAX_TOKEN_CHARS:
            raise part.bad("content", content, f"1 to {MAX_TOKEN_CHARS} characters")
        _check_unicode(content, part.where)
        part.neutral("single_word", False)
        special = part.truth("special", default=False)
        token = Added(
            id=part.number("id", most=MAX_TOKENS - 1),
            content=content,
            control=special or looks_like_control(content),
            strips=(part.truth("lstrip", default=False), part.truth("rstrip", default=False)),
            normalized=part.truth("normalized", default=not special),
        )
        part.ignore("__type")
        part.finish()
        found.append(token)
    return found


def _joined(
    listed: Iterable[Added], further: Iterable[Added], control: frozenset[str]
) -> dict[int, Added]:
    """All added tokens by id; control where any file says so. Raises: BadTokenizer."""
    found: dict[int, Added] = {}
    ids: dict[str, int] = {}
    for given in chain(listed, further):
        token = replace(given, control=True) if given.content in control else given
        known = found.get(token.id)
        if known is None and token.content not in ids:
            found[token.id] = token
            ids[token.content] = token.id
        elif known is not None and known.content == token.content:
            found[token.id] = replace(known, control=known.control or token.control)
        else:
            other = known.content if known is not None else f"id {ids[token.content]}"
            raise BadTokenizer(
                f"the added token of id {token.id} is said twice, in different ways",
                value=token.content[:80],
                expected=repr(other[:80]),
                found=repr(token.content[:80]),
            )
    return found


class _Model:
    """The BPE model of a file, checked."""

    def __init__(self, value: object) -> None:
        part = Part(value, "model")
        if part.field("type") not in (None, "BPE"):
            raise part.unknown(("BPE",))
        part.neutral("dropout", 0, 0.0)
        part.neutral("continuing_subword_prefix", "")
        part.neutral("end_of_word_suffix", "")
        self.byte_fallback = part.truth("byte_fallback", default=False)
        self._fuse_unk = part.truth("fuse_unk", default=False)
        self._whole_words = part.truth("ignore_merges", default=False)
        unknown = part.field("unk_token")
        if unknown is not None and not isinstance(unknown, str):
            raise part.bad("unk_token", unknown, "a token")
        self._unknown = unknown or None
        self.vocab = _vocab(part.field("vocab"))
        self._merges = _merges(part.field("merges"))
        part.finish()

    def build(self, control: set[str], spelling: Spelling) -> models.BPE:
        """The library's model, without control tokens. Raises: BadTokenizer, UnknownTokenizer."""
        ids = dict(self.vocab)
        unknown = self._checked_unknown(spelling)
        hidden = {token for token in {*control, *([unknown] if unknown else [])} if token in ids}
        for token in hidden:
            del ids[token]
        merges = checked_merges(self._merges, ids, hidden, "model.merges")
        if unknown is not None:
            ids[unknown] = self.vocab[unknown]
        with LibraryRefusal("model"):
            return models.BPE(
                vocab=ids,
                merges=merges,
                unk_token=unknown,
                fuse_unk=self._fuse_unk,
                byte_fallback=self.byte_fallback,
                ignore_merges=self._whole_words,
            )

    def _checked_unknown(self, spelling: Spelling) -> str | None:
        """The token for characters that the vocabulary lacks, where there can be any."""
        if self._unknown is None or (spelling.byte_level and self.vocab.keys() >= ALPHABET.keys()):
            return None
        if self._unknown not in self.vocab:
            raise BadTokenizer("model.unk_token: is no token", found=repr(self._unknown[:80]))
        if self._whole_words:
            raise UnknownTokenizer(
                "model: words that are tokens are taken whole, the unknown token among them",
                expected="ignore_merges only where every byte is a token",
                found="an unk_token",
            )
        return self._unknown


def _vocab(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_TOKENS:
        raise BadTokenizer(f"model.vocab: is not an object of 1 to {MAX_TOKENS} tokens")
    for token, index in value.items():
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < MAX_TOKENS:
            raise BadTokenizer(
                "model.vocab: a token's id is out of range",
                value=token[:80],
                expected=f"0 to {MAX_TOKENS - 1}",
                found=repr(index)[:80],
            )
        if not 0 < len(token) <= MAX_TOKEN_CHARS:
            raise BadTokenizer(
                "model.vocab: a token is of no length that is carried",
                expected=f"1 to {MAX_TOKEN_CHARS} characters",
                found=str(len(token)),
            )
    if len(set(value.values())) != len(value):
        raise BadTokenizer("model.vocab: two tokens have one id", expected="each id once")
    _check_unicode("".join(value), "model.vocab")
    return value


def _merges(value: object) -> list[tuple[str, str]]:
    """Pairs, written as lists of two or as texts with a space between."""
    if not isinstance(value, list) or len(value) > MAX_MERGES:
        raise BadTokenizer(f"model.merges: is not a list of at most {MAX_MERGES} merges")
    pairs = []
    for rank, merge in enumerate(value):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadTokenizer(f"model.merges: merge {rank} is not of two tokens")
        left, right = pair
        if not isinstance(left, str) or not isinstance(right, str):
            raise BadTokenizer(f"model.merges: merge {rank} is not of texts")
        pairs.append((left, right))
    return pairs


def _tokens(vocab: Mapping[str, int], added: Mapping[int, Added], size: int) -> dict[int, str]:
    """Every id's spelling; empty where the weights have a row and no token.

    Raises: BadTokenizer when two spellings have one id, or a token has no row.
    """
    tokens = {index: token for token, index in vocab.items()}
    for token in added.values():
        listed, place = tokens.get(token.id, token.content), vocab.get(token.content, token.id)
        if listed != token.content or place != token.id:
            raise BadTokenizer(
                f"added_tokens: disagrees with model.vocab about id {token.id}",
                value=token.id,
                expected=f"{listed[:80]!r} there, or {place} for this token",
                found=repr(token.content[:80]),
            )
        tokens[token.id] = token.content
    largest = max(tokens)
    if size and largest >= size:
        raise BadTokenizer(
            "the tokenizer does not belong to this model",
            value=largest,
            expected=f"ids from 0 to {size - 1}",
            found=f"{tokens[largest][:80]!r} at {largest}",
        )
    return {index: tokens.get(index, "") for index in range(max(size, largest + 1))}


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadTokenizer(f"{where}: a token is not text", expected="valid Unicode") from None
