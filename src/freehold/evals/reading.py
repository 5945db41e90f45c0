"""What of an answer is said to whoever asked: a model's reasoning to itself is not.

Room: evals. Tokens in, text out, as a server shows it; must not know tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.chat.control import ControlStrings
from freehold.chat.dialects import dialect_of
from freehold.chat.parsing import AnswerParser
from freehold.chat.pieces import Piece, Text
from freehold.chat.reasoning import reasoning_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from freehold.local import Model

__all__ = ["ChatReader", "TextReader"]


class TextReader:
    """A continued text: all of it but control tokens."""

    def __init__(self, model: Model) -> None:
        self._decoder = model.tokenizer.stream()

    def push(self, token: int) -> str:
        """The text that this token completes."""
        return self._decoder.push(token)

    def finish(self) -> str:
        """What waited for more."""
        return self._decoder.finish()


class ChatReader:
    """An answer in a conversation, without reasoning and the marks around it."""

    def __init__(self, model: Model, *, starts_in_reasoning: bool) -> None:
        source = model.template.source
        dialect, reasoning = dialect_of(source), reasoning_of(source)
        self._tokenizer = model.tokenizer
        self._decoder = model.tokenizer.stream(skip_special=False, continuing=True)
        marks = set(dialect.markers) | (set() if reasoning is None else set(reasoning.markers))
        control = ControlStrings.of(model.tokenizer)
        self._shown = {p for mark in marks for p in control.split(mark) if isinstance(p, int)}
        self._parser = AnswerParser(
            dialect, reasoning=reasoning, starts_in_reasoning=starts_in_reasoning, tool_calls=False
        )

    def push(self, token: int) -> str:
        """The text that this token completes."""
        if self._tokenizer.is_special(token) and token not in self._shown:
            return ""
        return _said(self._parser.push(self._decoder.push(token)))

    def finish(self) -> str:
        """What waited for more."""
        rest = _said(self._parser.push(self._decoder.finish()))
        return rest + _said(self._parser.finish())


def _said(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))
