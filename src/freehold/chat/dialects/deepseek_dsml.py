"""Calls as a block of invocations with a tag for each argument, as DeepSeek V3.2 and V4 write them.

Room: chat. Source: the chat templates of both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Dialect, Function
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan, Unreadable
from freehold.chat.dialects.tagged import TaggedCall, Tags

__all__ = ["DeepseekDsml"]

_MARK = "｜DSML｜"
_NAME = re.compile(r'[^"\n]*')
_MAX_NAME = 256
_TAGS = Tags(
    before=f'<{_MARK}parameter name="',
    after='" string="true">',
    end=f"</{_MARK}parameter>\n",
    not_in_names='"',
    never=f"</{_MARK}parameter>",
    after_other='" string="false">',
)
_INVOKE = (f'<{_MARK}invoke name="', f'<{_MARK} invoke name="')
_PARAMETER = (f'<{_MARK}parameter name="', f'<{_MARK} parameter name="')
_INVOKE_END = (f"</{_MARK}invoke>", f"</{_MARK} invoke>")
_PARAMETER_END = (f"</{_MARK}parameter>", f"</{_MARK} parameter>")
_KINDS = {' string="true">': True, ' string="false">': False, ">": None}


class DeepseekDsml(Dialect):
    """A block of `<｜DSML｜invoke name="...">`, each with `<｜DSML｜parameter name="...">`.

    `block` is the name of the tag around them, which the versions call differently.
    """

    markers = (_MARK,)
    ends_reasoning = True

    def __init__(self, name: str, block: str) -> None:
        self.name = name
        self.opening = f"<{_MARK}{block}>"
        self._end = f"</{_MARK}{block}>"
        self.starts = (self.opening, f"<{_MARK} {block}>", f"<{_MARK} calls>")
        self._ends = (self._end, f"</{_MARK} {block}>", f"</{_MARK} calls>")

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """The whole block."""
        yield from scan.expect(*self.starts)
        while True:
            yield from scan.skip_space()
            if not (yield from scan.takes(*_INVOKE)):
                break
            yield from self._invocation(scan, calls)
        if not (yield from scan.takes(*self._ends)):
            raise Unreadable

    def _invocation(self, scan: Scan, calls: Calls) -> Reader[None]:
        name = yield from scan.run(_NAME, _MAX_NAME)
        yield from scan.expect('">')
        yield from calls.begin(scan, name)
        call = TaggedCall(calls, name)
        yield call.begin()
        scan.keep()
        while True:
            yield from scan.skip_space()
            if (yield from scan.expect(*_PARAMETER, *_INVOKE_END)) in _INVOKE_END:
                break
            key = yield from scan.run(_NAME, _MAX_NAME)
            yield from scan.expect('"')
            kind = yield from scan.expect(*_KINDS)
            yield from call.value(scan, key, _PARAMETER_END, is_text=_KINDS[kind])
        yield from call.end(scan)

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """As the templates write it, a line for each tag."""
        calls = []
        for tool in tools:
            head = lark.literal(f'<{_MARK}invoke name="{tool.name}">\n')
            end = lark.literal(f"</{_MARK}invoke>\n")
            calls.append(lark.rule(f"{head} {_TAGS.arguments(lark, tool)} {end}"))
        many = "+" if several else ""
        lead = lark.literal("\n")
        return f"{lead} {lark.one_of(calls)}{many} {lark.literal(self._end)}"
