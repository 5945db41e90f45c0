"""The tokenizer of an encoder: a whole text in, its ids between begin and end marks out.

Room: tokenizer. Built from a directory's tokenizer.json on the `tokenizers` library; must not know
configurations, models or requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tokenizers

from freehold.errors import BadPrompt, BadTokenizer
from freehold.formats.json_file import VOCABULARY, parse_object
from freehold.tokenizer.backend import LibraryRefusal
from freehold.tokenizer.trusted import check_parts

__all__ = ["EncoderTokenizer"]

_MAX_BYTES = 1 << 27


class EncoderTokenizer:
    """Texts to ids, as the model's own tokenizer does it; nothing is ever cut or padded.

    Control tokens written out in a text are read as that text, not as control tokens: they mean
    something to the model that nobody's words may say. Safe to use from several threads.
    """

    def __init__(self, library: tokenizers.Tokenizer, *, lower_case: bool = False) -> None:
        # The file's own truncation and padding would change what a text means, without a word.
        library.no_truncation()
        library.no_padding()
        library.encode_special_tokens = True
        self._library = library
        self._lower_case = lower_case
        self._marks = self._count_marks()

    @classmethod
    def from_file(
        cls, path: Path, *, vocabulary: int, lower_case: bool = False
    ) -> EncoderTokenizer:
        """Builds it from tokenizer.json for a model of `vocabulary` tokens.

        Raises: BadTokenizer when it is missing, cannot be read, or has ids the model lacks;
        UnknownTokenizer for parts that no published encoder has; FormatError.
        """
        if not path.is_file():
            raise BadTokenizer(
                "the directory holds no tokenizer",
                expected=path.name,
                found="no such file",
                hint="fetch the model's other files into the same directory",
            )
        if path.stat().st_size > _MAX_BYTES:
            raise BadTokenizer(f"{path.name}: is larger than {_MAX_BYTES} bytes")
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            raise BadTokenizer(f"{path.name}: is not UTF-8") from None
        check_parts(parse_object(path, text.encode(), VOCABULARY))
        with LibraryRefusal(path.name):
            library = tokenizers.Tokenizer.from_str(text)
        largest = max(library.get_vocab(with_added_tokens=True).values(), default=-1)
        if not 0 <= largest < vocabulary:
            raise BadTokenizer(
                f"{path.name}: does not belong to this model",
                expected=f"ids from 0 to {vocabulary - 1}",
                found=f"up to {largest}",
            )
        return cls(library, lower_case=lower_case)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return int(self._library.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, with the marks the model expects around it.

        Raises: BadPrompt for text with unpaired surrogates.
        """
        with LibraryRefusal("the text"):
            ids: list[int] = self._library.encode(self._checked(text)).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of several texts, on as many threads as the library likes. Raises: BadPrompt."""
        checked = [self._checked(text) for text in texts]
        with LibraryRefusal("a text"):
            encodings = self._library.encode_batch_fast(checked)
        return [encoding.ids for encoding in encodings]

    def count(self, text: str) -> int:
        """How many ids `encode` gives. Raises: BadPrompt."""
        return len(self.encode(text))

    def cut(self, ids: Sequence[int], limit: int) -> list[int]:
        """The ids cut to `limit`, with the marks at both ends kept."""
        if len(ids) <= limit:
            return list(ids)
        tail = self._marks[1]
        return [*ids[: limit - tail], *ids[len(ids) - tail :]]

    def _checked(self, text: str) -> str:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise BadPrompt(
                    "the text is not valid Unicode",
                    expected="no unpaired surrogates",
                    found=f"one at character {error.start}",
                ) from None
        return text.lower() if self._lower_case else text

    def _count_marks(self) -> tuple[int, int]:
        """How many marks come before a text and after it."""
        mask = self._library.encode("a").special_tokens_mask
        words = [i for i, mark in enumerate(mask) if not mark]
        return (words[0], len(mask) - 1 - words[-1]) if words else (0, len(mask))
