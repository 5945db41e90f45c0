"""Token ids back to text, one at a time, never showing half a character.

Room: tokenizer. Knows bytes and UTF-8; must not know where the ids come from.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable

__all__ = ["TextStream", "text_of"]


def text_of(pieces: Iterable[bytes], *, drops_first_space: bool) -> str:
    """The text of a whole answer; bytes that are no UTF-8 become U+FFFD."""
    data = b"".join(pieces)
    return (data.removeprefix(b" ") if drops_first_space else data).decode("utf-8", "replace")


class TextStream:
    """Turns ids into text as they arrive.

    A character whose bytes span several tokens appears with its last byte. The pieces, with
    `finish()` at the end, joined are exactly what `Tokenizer.decode` gives for all the ids. Each
    push costs the length of its own token, however long the answer.
    """

    __slots__ = ("_bytes_of", "_drops_first_space", "_inside", "_utf8")

    def __init__(self, bytes_of: Callable[[int], bytes], *, drops_first_space: bool) -> None:
        self._bytes_of = bytes_of
        self._drops_first_space = drops_first_space
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._inside = False  # a character that spans several tokens

    def push(self, token_id: int) -> str:
        """The text that this id completes: often a word, empty inside a character."""
        data = self._bytes_of(token_id)
        if self._drops_first_space and data:
            data = data.removeprefix(b" ")
            self._drops_first_space = False
        if not self._inside and data.isascii():
            return data.decode()  # nearly all there is, and no work for the state machine
        text = self._utf8.decode(data)
        self._inside = self._utf8.getstate()[0] != b""
        return text

    def finish(self) -> str:
        """U+FFFD where the answer stopped inside a character, otherwise nothing."""
        return self._utf8.decode(b"", final=True)
