"""An answer's text taken apart as it comes: reasoning, text, tool calls.

Room: chat. Knows dialects by their face; must not know tokens, templates or surfaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from freehold.chat.dialects.base import Calls, Dialect
from freehold.chat.dialects.scan import Reader, Scan, Unreadable
from freehold.chat.pieces import CallArguments, CallStart, Piece, Reasoning, Text
from freehold.chat.reasoning import ReasoningFormat
from freehold.chat.tools import Tool

__all__ = ["AnswerParser", "CallArguments", "CallStart", "Piece", "Reasoning", "Text"]

_SPACE = " \t\r\n"


class AnswerParser:
    """Takes one answer's text in any pieces; what it gives, joined, does not depend on the cuts.

    The text must have the control tokens of `dialect.markers` and `reasoning.markers` written out,
    and no others. What looks like a call and is none, or calls an unknown tool, stays text. A call
    is given as soon as its name is known, its arguments as they come; should the model then break
    off or write what is no JSON, the arguments so far stand as they are, what follows is text, and
    `broken` says that the last call is not whole. White space around calls and at the edges of
    reasoning is left out; without either, the text is given to the last blank.
    """

    def __init__(
        self,
        dialect: Dialect,
        tools: Sequence[Tool] = (),
        *,
        reasoning: ReasoningFormat | None = None,
        starts_in_reasoning: bool = False,
        tool_calls: bool = True,
    ) -> None:
        self._dialect = dialect
        self._reasoning = reasoning
        tools = tools if tool_calls else ()
        self._calls = Calls(dialect, tools)
        looks = bool(tools) or dialect.frames_text
        self._starts = dialect.starts_for([t.name for t in tools]) if looks else ()
        self._scan = Scan()
        self._tidy = _Tidy(self._calls, holds=bool(self._starts))
        self._inside = starts_in_reasoning and reasoning is not None
        self._only_text = False  # whether nothing but text can follow
        self._reader = self._read(self._inside)

    @property
    def calls(self) -> int:
        """How many calls have begun."""
        return self._calls.begun

    @property
    def broken(self) -> bool:
        """Whether a call has begun and its arguments are not, or not yet, whole."""
        return self._calls.ended < self._calls.begun

    @property
    def in_reasoning(self) -> bool:
        """Whether what came last is reasoning that has not ended."""
        return self._inside

    def push(self, text: str) -> list[Piece]:
        """The pieces that this text completes."""
        if not text:
            return []
        if self._only_text and self._tidy.passes_text:
            return [Text(text)]
        self._scan.push(text)
        return self._run()

    def finish(self) -> list[Piece]:
        """The pieces that waited for more text. Nothing may be pushed after it."""
        self._scan.ended = True
        return self._run() + list(self._tidy.rest())

    def _run(self) -> list[Piece]:
        pieces: list[Piece] = []
        for piece in self._reader:
            if piece is None:
                break
            pieces += self._tidy.passed(piece)
        return pieces

    def _read(self, in_reasoning: bool) -> Reader[None]:
        reasoning = self._reasoning
        if reasoning is not None and not in_reasoning:
            in_reasoning = yield from self._opens(reasoning)
        while in_reasoning or (yield from self._text()):
            if reasoning is not None:
                yield from self._reason(reasoning)
            in_reasoning = self._inside = False

    def _opens(self, reasoning: ReasoningFormat) -> Reader[bool]:
        """Whether the answer begins with reasoning; the white space before it is then left out."""
        self._scan.keep()
        yield from self._scan.skip_space()
        if (yield from self._scan.takes(reasoning.start)):
            self._scan.let_go()
            return True
        self._scan.back(0)
        return False

    def _reason(self, reasoning: ReasoningFormat) -> Reader[None]:
        """Reasoning up to its end, or to a call where calls end it."""
        self._inside = True
        self._tidy.reasoning_begins()
        ends = [reasoning.end]
        if self._dialect.ends_reasoning:
            ends += self._starts
        while end := (yield from self._scan.until(ends, Reasoning))[1]:
            if end == reasoning.end:
                self._scan.at += len(end)
                return
            if (yield from self._call(end, Reasoning)):
                return

    def _text(self) -> Reader[bool]:
        """Text and calls to the end, or to where reasoning begins again, which gives True."""
        opens = [self._reasoning.start] if self._reasoning and self._reasoning.anywhere else []
        self._only_text = not opens and not self._starts
        while end := (yield from self._scan.until([*opens, *self._starts], Text))[1]:
            if end in opens:
                self._scan.at += len(end)
                return True
            yield from self._call(end, Text)
        return False

    def _call(self, start: str, otherwise: type[Text] | type[Reasoning]) -> Reader[bool]:
        """The calls that begin here; False where there is none, and its start is passed on."""
        scan, before = self._scan, self._calls.begun
        scan.keep()
        try:
            yield from self._dialect.read(scan, self._calls)
        except Unreadable:
            if self._calls.begun == before:
                scan.back(len(start))
                yield otherwise(start)
                return False
            if scan.is_kept:
                scan.back(0)
        if self.broken:
            self._calls.none_follow()
        scan.let_go()
        return True


class _Tidy:
    """Leaves out the white space that only sets the parts of an answer apart."""

    def __init__(self, calls: Calls, *, holds: bool) -> None:
        self._calls = calls
        self._holds = holds
        self._held = ""
        self._drops = False
        self._kind: type[Text] | type[Reasoning] = Text

    @property
    def passes_text(self) -> bool:
        """Whether text goes through as it is."""
        return self._kind is Text and not (self._drops or self._holds or self._held)

    def reasoning_begins(self) -> None:
        """What comes now is reasoning, even if it is none at all."""
        self._kind, self._held, self._drops = Reasoning, "", True

    def passed(self, piece: Piece) -> Iterator[Piece]:
        """The piece, or what of it is certain."""
        if isinstance(piece, CallStart | CallArguments):
            self._held, self._drops = "", True
            yield piece
            return
        text = piece.text
        if type(piece) is not self._kind:
            self._kind, self._held, self._drops = type(piece), "", True
        if self._drops:
            text = text.lstrip(_SPACE)
            self._drops = not text
        if self._holds or self._kind is Reasoning:
            text = self._held + text
            body = text.rstrip(_SPACE)
            self._held = text[len(body) :]
            text = body
        if text:
            yield self._kind(text)

    def rest(self) -> Iterator[Piece]:
        """White space that ends an answer of text alone."""
        if self._held and self._kind is Text and not self._calls.begun:
            yield Text(self._held)
