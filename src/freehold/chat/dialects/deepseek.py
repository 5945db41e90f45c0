"""Calls between control tokens, as DeepSeek V3, R1 and V3.1 write them.

Room: chat. Source: the chat templates of the three. The bars are U+FF5C, the low lines U+2581.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Dialect, Function
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan

__all__ = ["Deepseek"]

_CALLS = "<｜tool▁calls▁begin｜>"
_CALLS_END = "<｜tool▁calls▁end｜>"
_CALL = "<｜tool▁call▁begin｜>"
_CALL_END = "<｜tool▁call▁end｜>"
_BETWEEN = "<｜tool▁sep｜>"
_NAME = re.compile(r"[^<\n{]*")
_MAX_NAME = 256
_FENCE = "```"


class Deepseek(Dialect):
    """`begin name sep {...} end`; with `fenced`, `begin function sep name` and a block of JSON.

    Both are read whichever the template is for.
    """

    markers = (_CALLS, _CALLS_END, _CALL, _CALL_END, _BETWEEN)
    starts = (_CALLS, _CALL)
    opening = _CALLS
    ends_reasoning = True

    def __init__(self, name: str, *, fenced: bool) -> None:
        self.name = name
        self._fenced = fenced
        call = self._written("function_name", '{"argument": "value"}')
        self.form = f"To call a function, answer in this form:\n{_CALLS}{call}{_CALLS_END}"

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """The whole section, or one call outside of one."""
        section = yield from scan.takes(_CALLS)
        while True:
            yield from scan.skip_space()
            yield from scan.expect(_CALL)
            yield from self._call(scan, calls)
            yield from scan.skip_space()
            yield from scan.takes(_CALL_END)
            yield from scan.skip_space()
            if not section or (yield from scan.peek(len(_CALL))) != _CALL:
                yield from scan.takes(_CALLS_END)
                return

    def _call(self, scan: Scan, calls: Calls) -> Reader[None]:
        name = (yield from scan.run(_NAME, _MAX_NAME)).strip()
        yield from scan.expect(_BETWEEN)
        yield from scan.skip_space()
        if name == "function" and (yield from scan.peek()) != "{":
            name = (yield from scan.run(_NAME, _MAX_NAME)).strip()
            yield from scan.skip_space()
        # The name's pattern stops at a brace or line break, so a fence is still to come.
        fenced = yield from scan.takes(f"{_FENCE}json", _FENCE)
        yield from scan.skip_space()
        yield from calls.stream_object(scan, name)
        if fenced:
            yield from scan.skip_space()
            yield from scan.takes(_FENCE)

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """As the model's own template writes it."""
        calls = []
        for tool in tools:
            head, end = self._written(tool.name, "\0").split("\0")
            calls.append(f"{lark.literal(head)} {lark.json(tool.arguments)} {lark.literal(end)}")
        one = lark.rule(lark.one_of(calls))
        between = r"/\n?/ " if self._fenced else ""
        many = f"({between}{one})*" if several else ""
        return f"{one} {many} {lark.literal(_CALLS_END)}"

    def _written(self, name: str, arguments: str) -> str:
        if self._fenced:
            head = f"{_CALL}function{_BETWEEN}{name}"
            return f"{head}\n{_FENCE}json\n{arguments}\n{_FENCE}{_CALL_END}"
        return f"{_CALL}{name}{_BETWEEN}{arguments}{_CALL_END}"
