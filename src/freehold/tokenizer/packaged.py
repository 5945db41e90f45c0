"""A tokenizer that a model file carries whole, as the JSON of the `tokenizers` library.

Room: tokenizer. Knows that JSON's shape as far as trust needs it; must not know other formats.
"""

from __future__ import annotations

import threading

import tokenizers

from freehold.errors import BadTokenizer
from freehold.tokenizer.backend import LibraryRefusal
from freehold.tokenizer.vocabulary import Vocabulary

__all__ = ["PackagedCutter"]

_MAX_CHARS = 1 << 27


class PackagedCutter:
    """Cuts text with the packaged tokenizer alone, its own special tokens included."""

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        self._library = library
        # Reading control tokens or not is a setting of the library's object, not of a call.
        self._lock = threading.Lock()

    @classmethod
    def of(cls, text: object, vocabulary: Vocabulary) -> PackagedCutter:
        """Build it from `tokenizer.huggingface.json`.

        Raises: BadTokenizer when it cannot be read, or spells an id otherwise than the token list.
        """
        name = "tokenizer.huggingface.json"
        if not isinstance(text, str) or len(text) > _MAX_CHARS:
            raise BadTokenizer(f"{name}: is not a text of at most {_MAX_CHARS} characters")
        with LibraryRefusal(name):
            library = tokenizers.Tokenizer.from_str(text)
        library.no_truncation()
        library.no_padding()
        for token_id, token in enumerate(vocabulary.tokens):
            spelled = library.id_to_token(token_id)
            if spelled != token:
                raise BadTokenizer(
                    f"{name}: disagrees with tokenizer.ggml.tokens about id {token_id}",
                    value=token_id,
                    expected=repr(token[:80]),
                    found="nothing" if spelled is None else repr(spelled[:80]),
                )
        if library.get_vocab_size() > len(vocabulary.tokens):
            raise BadTokenizer(
                f"{name}: has tokens beyond tokenizer.ggml.tokens",
                expected=f"at most {len(vocabulary.tokens)}",
                found=str(library.get_vocab_size()),
            )
        return cls(library)

    def ids(self, text: str, *, parse_special: bool) -> list[int]:
        """The ids of the text."""
        with self._lock:
            self._library.encode_special_tokens = not parse_special
            ids: list[int] = self._library.encode(text, add_special_tokens=False).ids
        return ids

    def token(self, token_id: int) -> str | None:
        """A token as the vocabulary spells it."""
        spelling: str | None = self._library.id_to_token(token_id)
        return spelling
