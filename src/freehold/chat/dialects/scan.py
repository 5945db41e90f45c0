"""Reading a text that arrives in pieces, as if it were all there.

Room: chat. Knows nothing of dialects.

A reader is a generator. It yields pieces of the answer as they are certain, and None when it needs
more text; what it finds does not depend on where the text was cut. `raise Unreadable` gives up a
call: the text it consumed is then passed on as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from freehold.chat.pieces import Piece

__all__ = ["Reader", "Scan", "Unreadable", "held_back"]

_T = TypeVar("_T")
Reader = Generator[Piece | None, None, _T]

_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_CHARACTERS = re.compile(r"[-+.0-9eE]*")
_MAX_NESTING = 64


class Unreadable(Exception):  # noqa: N818 - no error of ours: what the model wrote is no call
    """The text is not what its dialect says."""


class Scan:
    """A place in the text so far, which grows at its end."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self._raw: str | None = None
        self._passed: int | None = None
        self._sink: Callable[[str], Piece] | None = None

    def push(self, text: str) -> None:
        """Adds text. Forgets what is behind."""
        behind = self.at if self._passed is None else min(self.at, self._passed)
        self.text = self.text[behind:] + text
        self.at -= behind
        if self._passed is not None:
            self._passed -= behind
        if self._raw is not None:
            self._raw += text

    def more(self) -> Reader[bool]:
        """Waits for text; False at the end. What was consumed for a sink is passed on first."""
        if self.ended:
            return False
        yield from self._pass_on()
        before = len(self.text) - self.at
        yield None
        return len(self.text) - self.at > before or (yield from self.more())

    def keep(self) -> None:
        """Remembers this place, to come `back`."""
        self._raw = self.text[self.at :]

    @property
    def is_kept(self) -> bool:
        """Whether a place is remembered."""
        return self._raw is not None

    def let_go(self) -> None:
        """Forgets the remembered place."""
        self._raw = None

    def back(self, after: int) -> None:
        """Returns to so many characters after the remembered place, to the text as it came."""
        assert self._raw is not None, "no place was kept"
        self.text, self.at, self._raw = self._raw, after, None
        self._passed = self._sink = None

    def pouring(self, sink: Callable[[str], Piece]) -> None:
        """From here on, consumed text is passed on as pieces, until `poured`."""
        self._sink, self._passed = sink, self.at

    def poured(self) -> Reader[None]:
        """Passes on the rest and ends the pouring."""
        yield from self._pass_on()
        self._sink = self._passed = None

    def _pass_on(self) -> Reader[None]:
        if self._sink is not None and self._passed is not None and self._passed < self.at:
            yield self._sink(self.text[self._passed : self.at])
            self._passed = self.at

    def peek(self, count: int = 1) -> Reader[str]:
        """The next characters without consuming them; fewer at the end."""
        while len(self.text) - self.at < count and (yield from self.more()):
            pass
        return self.text[self.at : self.at + count]

    def takes(self, *texts: str) -> Reader[str]:
        """Consumes the first of these texts that comes next and returns it, or "" for none."""
        while True:
            rest = self.text[self.at : self.at + max(map(len, texts))]
            for text in texts:
                if rest.startswith(text):
                    self.at += len(text)
                    return text
                if text.startswith(rest) and not self.ended:
                    break
            else:
                return ""
            yield from self.more()

    def expect(self, *texts: str) -> Reader[str]:
        """Consumes one of these texts. Raises: Unreadable."""
        return (yield from self.takes(*texts)) or _give_up()

    def skip_space(self) -> Reader[None]:
        """Consumes white space."""
        while True:
            found = _SPACE.match(self.text, self.at)
            assert found is not None, "it matches nothing too"
            self.at = found.end()
            if self.at < len(self.text) or not (yield from self.more()):
                return

    def run(self, pattern: re.Pattern[str], most: int) -> Reader[str]:
        """Consumes what the pattern, a repeated class, matches. Raises: Unreadable if too long."""
        while True:
            found = pattern.match(self.text, self.at)
            assert found is not None, "it matches nothing too"
            if len(found.group()) > most:
                raise Unreadable
            if found.end() < len(self.text) or not (yield from self.more()):
                self.at = found.end()
                return found.group()

    def until(
        self, ends: Sequence[str], emit: Callable[[str], Piece] | None = None
    ) -> Reader[tuple[str, str]]:
        """Consumes text up to the earliest of `ends`: the text, and the end that comes next.

        With `emit` the text is passed on as it comes and "" returned for it. The end is "" when
        the text ended first; with no `ends`, that is where it goes on to.
        """
        collected: list[str] = []
        longest_first = sorted(ends, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        while True:
            found = pattern.search(self.text, self.at)
            wait = 0 if found or self.ended else held_back(self.text, self.at, ends)
            stop = found.start() if found else len(self.text) - wait
            if stop > self.at:
                if emit is None:
                    collected.append(self.text[self.at : stop])
                else:
                    yield emit(self.text[self.at : stop])
                self.at = stop
            if found:
                return "".join(collected), found.group()
            if not (yield from self.more()) and self.at >= len(self.text):
                return "".join(collected), ""

    def json_string(self) -> Reader[str]:
        """Consumes a JSON string and returns what it says. Raises: Unreadable."""
        return str(json.loads((yield from self._measured(self._string()))))

    def json_text(self) -> Reader[str]:
        """Consumes a JSON value and returns its text. Raises: Unreadable."""
        return (yield from self._measured(self.json_value()))

    def _measured(self, reader: Reader[None]) -> Reader[str]:
        """The text that a reader consumed; nothing is passed on."""
        assert self._sink is None, "text cannot be poured and measured at once"
        collected: list[str] = []
        start = self.at
        for step in reader:
            assert step is None, "nothing is poured"
            collected.append(self.text[start : self.at])
            yield None
            start = self.at
        collected.append(self.text[start : self.at])
        return "".join(collected)

    def json_value(self, nesting: int = 0) -> Reader[None]:
        """Consumes a JSON value. Raises: Unreadable at the first character that is none."""
        if nesting > _MAX_NESTING:
            raise Unreadable
        first = yield from self.peek()
        if first == '"':
            yield from self._string()
        elif first in ("{", "["):
            yield from self._container(first, nesting)
        elif first and first in "-0123456789":
            yield from self._number()
        else:
            yield from self.expect("true", "false", "null")

    def _container(self, opening: str, nesting: int) -> Reader[None]:
        closing = "}" if opening == "{" else "]"
        self.at += 1
        yield from self.skip_space()
        if (yield from self.takes(closing)):
            return
        while True:
            if opening == "{":
                yield from self._string()
                yield from self.skip_space()
                yield from self.expect(":")
                yield from self.skip_space()
            yield from self.json_value(nesting + 1)
            yield from self.skip_space()
            if (yield from self.expect(",", closing)) == closing:
                return
            yield from self.skip_space()

    def _string(self) -> Reader[None]:
        yield from self.expect('"')
        while True:
            found = _PLAIN.match(self.text, self.at)
            assert found is not None, "it matches nothing too"
            self.at = found.end()
            if (yield from self.peek()) == "":
                raise Unreadable
            if self.text[self.at] == '"':
                self.at += 1
                return
            if self.text[self.at] == "\\":
                yield from self._escape()
            elif self.text[self.at] < " ":
                self._mend()

    def _mend(self) -> None:
        """Escapes a line break or tab that a model wrote bare inside a string."""
        escaped = json.dumps(self.text[self.at])[1:-1]
        self.text = self.text[: self.at] + escaped + self.text[self.at + 1 :]
        self.at += len(escaped)

    def _escape(self) -> Reader[None]:
        wanted = 6 if (yield from self.peek(2)) == "\\u" else 2
        yield from self.peek(wanted)
        found = _ESCAPE.match(self.text, self.at)
        if found is None:
            raise Unreadable
        self.at = found.end()

    def _number(self) -> Reader[None]:
        while True:
            found = _NUMBER_CHARACTERS.match(self.text, self.at)
            assert found is not None, "it matches nothing too"
            if found.end() < len(self.text) or not (yield from self.more()):
                break
        if _NUMBER.fullmatch(found.group()) is None:
            raise Unreadable
        self.at = found.end()


def _give_up() -> str:
    raise Unreadable


def held_back(text: str, start: int, ends: Sequence[str]) -> int:
    """How many of the last characters may be the beginning of one of `ends`."""
    longest = min(max(map(len, ends), default=1) - 1, len(text) - start)
    for count in range(longest, 0, -1):
        tail = text[-count:]
        if any(end.startswith(tail) for end in ends):
            return count
    return 0
