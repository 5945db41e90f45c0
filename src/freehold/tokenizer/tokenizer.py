"""The tokenizer of one model: text to ids, ids to text.

Room: tokenizer. Knows how the parts work together; must not know files, prompts or sampling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import tokenizers

from freehold.errors import BadPrompt, BadTokenizer
from freehold.tokenizer.special import SpecialTokens
from freehold.tokenizer.stream import TextStream, text_of

__all__ = ["ALPHABET", "Cutter", "Facts", "PlainCutter", "Tokenizer"]

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


class Cutter(Protocol):
    """Cuts text into ids, special tokens included."""

    def ids(self, text: str, *, parse_special: bool) -> list[int]:
        """The ids of the text."""
        ...

    def token(self, token_id: int) -> str | None:
        """A token as the vocabulary spells it."""
        ...


@dataclass(frozen=True, slots=True)
class PlainCutter:
    """Special tokens by our own search, and the text between them by the library.

    `adds_space` is None for byte-level vocabularies. Otherwise spaces are spelled with a block
    character, and with True a text that begins, or follows a special token, gets one in front.
    """

    special: SpecialTokens
    library: tokenizers.Tokenizer
    adds_space: bool | None
    hidden: Mapping[int, str]

    def ids(self, text: str, *, parse_special: bool) -> list[int]:
        """The ids of the text."""
        ids: list[int] = []
        leads = True
        for part in self.special.split(text, parse_special=parse_special):
            if isinstance(part, int):
                ids.append(part)
                leads = True
                continue
            spelled = self._spelled(part, leads=leads)
            # A batch of one, because that leaves the interpreter to other threads meanwhile.
            ids += self.library.encode_batch_fast([spelled], add_special_tokens=False)[0].ids
            leads = False
        return ids

    def _spelled(self, part: str, *, leads: bool) -> str:
        if self.adds_space is None:
            return part
        lead = _SPACE if self.adds_space and leads else ""
        return lead + part.replace(" ", _SPACE)

    def token(self, token_id: int) -> str | None:
        """A token as the vocabulary spells it."""
        return self.hidden.get(token_id) or self.library.id_to_token(token_id)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model's file says about its tokenizer besides the vocabulary itself.

    `verbatim` are the ids whose spelling is their text; `special` those that decoding leaves out.
    """

    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    eos_ids: frozenset[int]
    adds_bos: bool
    adds_eos: bool
    drops_first_space: bool
    byte_level: bool
    verbatim: frozenset[int]
    special: frozenset[int]


class Tokenizer:
    """Text to token ids and back, as the model's own tokenizer does it.

    Safe to use from several threads. Build one with the functions of this room.
    """

    def __init__(self, cutter: Cutter, facts: Facts) -> None:
        self._cutter = cutter
        self._facts = facts
        self._bytes: dict[int, bytes] = {}  # of the tokens that were asked for

    @property
    def vocab_size(self) -> int:
        """Number of tokens; ids run from 0 to one less."""
        return self._facts.vocab_size

    @property
    def bos_id(self) -> int | None:
        """The id that begins a text, if the model has one."""
        return self._facts.bos_id

    @property
    def eos_id(self) -> int | None:
        """The id that ends a text, if the model has one. Answers may end with others too."""
        return self._facts.eos_id

    @property
    def eos_ids(self) -> frozenset[int]:
        """Every id that ends an answer: end of text, of turn, of message."""
        return self._facts.eos_ids

    def with_ends(self, ids: Iterable[int]) -> Tokenizer:
        """The same tokenizer with more ids that end an answer. Raises: BadTokenizer."""
        ends = self._facts.eos_ids | frozenset(ids)
        if max(ends, default=0) >= self.vocab_size:
            raise BadTokenizer(
                "eos_token_id: is no token's id",
                value=max(ends),
                expected=f"0 to {self.vocab_size - 1}",
                found=str(max(ends)),
            )
        return Tokenizer(self._cutter, replace(self._facts, eos_ids=ends))

    @property
    def adds_bos(self) -> bool:
        """Whether the model's file asks for `bos_id` before a plain text."""
        return self._facts.adds_bos

    @property
    def adds_eos(self) -> bool:
        """Whether the model's file asks for its end-of-text id after a plain text."""
        return self._facts.adds_eos

    def encode(
        self,
        text: str,
        *,
        add_bos: bool | None = None,
        add_eos: bool | None = False,
        parse_special: bool = False,
    ) -> list[int]:
        """The ids of a text.

        `add_bos`: None adds one where the file asks for it and the text does not begin with it;
        True always adds one. `add_eos`: None follows the file. `parse_special` reads control
        tokens written out in the text, as a rendered chat template needs and no user's own words
        may get; user-defined tokens such as `<think>` are read either way. Bytes that the
        vocabulary cannot spell (a few control characters, in some) are left out, as the model's
        own tokenizer does.

        Raises: BadPrompt for text with unpaired surrogates, or a BOS or EOS the model lacks.
        """
        _check_text(text)
        ids = self._cutter.ids(text, parse_special=parse_special)
        bos, eos = self._facts.bos_id, self._facts.eos_id
        if add_bos or (add_bos is None and self._facts.adds_bos and ids[:1] != [bos]):
            ids.insert(0, _existing(bos, "beginning"))
        if add_eos or (add_eos is None and self._facts.adds_eos):
            ids.append(_existing(eos, "end"))
        return ids

    def decode(
        self, ids: Iterable[int], *, skip_special: bool = True, continuing: bool = False
    ) -> str:
        """The text of the ids; bytes that are no UTF-8 become U+FFFD.

        `skip_special` leaves control tokens out. Models that put a space before every text have it
        taken off again, except with `continuing`, when the ids follow text that came before.
        """
        bytes_of = self._skipping_bytes_of if skip_special else self.token_bytes
        drops = self._facts.drops_first_space and not continuing
        return text_of(map(bytes_of, ids), drops_first_space=drops)

    def stream(self, *, skip_special: bool = True, continuing: bool = False) -> TextStream:
        """A decoder that takes the ids one by one. Same options, same text as `decode`."""
        bytes_of = self._skipping_bytes_of if skip_special else self.token_bytes
        drops = self._facts.drops_first_space and not continuing
        return TextStream(bytes_of, drops_first_space=drops)

    def token(self, token_id: int) -> str:
        """A token as the vocabulary spells it.

        Raises: IndexError for an id outside the vocabulary.
        """
        spelling = self._cutter.token(token_id) if token_id >= 0 else None
        if spelling is None:
            raise IndexError(f"token id {token_id} is not in 0 to {self.vocab_size - 1}")
        return spelling

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for in text; part of a character, perhaps.

        Raises: IndexError for an id outside the vocabulary.
        """
        known = self._bytes.get(token_id)
        if known is None:
            known = self._bytes[token_id] = self._spelled_bytes(token_id)
        return known

    def _spelled_bytes(self, token_id: int) -> bytes:
        spelling = self.token(token_id)
        if token_id in self._facts.verbatim:
            return spelling.encode()
        if self._facts.byte_level:
            return _bytes_of_alphabet(spelling)
        if spelling.startswith("<0x") and len(spelling) == 6:
            return bytes.fromhex(spelling[3:5])
        return spelling.replace(_SPACE, " ").encode()

    def is_special(self, token_id: int) -> bool:
        """Whether a token is a control token, which is not part of the text."""
        return token_id in self._facts.special

    def _skipping_bytes_of(self, token_id: int) -> bytes:
        return b"" if token_id in self._facts.special else self.token_bytes(token_id)


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadPrompt(
            "the text is not valid Unicode",
            expected="no unpaired surrogates",
            found=f"one at character {error.start}",
        ) from None


def _existing(token_id: int | None, which: str) -> int:
    if token_id is None:
        raise BadPrompt(
            f"the model has no token for the {which} of a text",
            hint="leave it out of the request",
        )
    return token_id


def _alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level vocabularies.

    Source: the GPT-2 release's encoder; printable Latin-1 bytes are themselves, the others follow
    in order from U+0100.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    return alphabet | {chr(0x100 + index): byte for index, byte in enumerate(others)}


ALPHABET = _alphabet()


def _bytes_of_alphabet(spelling: str) -> bytes:
    try:
        return bytes([ALPHABET[character] for character in spelling])
    except KeyError:
        # A token spelled outside the alphabet is its own text.
        return spelling.encode()
