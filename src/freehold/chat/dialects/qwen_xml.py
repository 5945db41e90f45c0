"""Calls as tags with a tag for each argument; Qwen3-Coder began it, Qwen 3.5 follows.

Room: chat. Source: the chat templates of both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Dialect, Function
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan
from freehold.chat.dialects.tagged import TaggedCall, Tags

__all__ = ["QwenXml"]

_NAME = re.compile(r"[^>\n]*")
_MAX_NAME = 256
_TAGS = Tags(
    before="<parameter=",
    after=">\n",
    end="\n</parameter>\n",
    not_in_names=">",
    never="</parameter>",
)


class QwenXml(Dialect):
    """`<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`."""

    name = "qwen_xml"
    markers = ("<tool_call>", "</tool_call>")
    # Models forget the outer tag.
    starts = ("<tool_call>", "<function=")
    opening = "<tool_call>"
    ends_reasoning = True

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """One call and its closing tags, as far as they are there."""
        yield from scan.takes("<tool_call>")
        yield from scan.skip_space()
        yield from scan.expect("<function=")
        name = yield from scan.run(_NAME, _MAX_NAME)
        yield from scan.expect(">")
        yield from calls.begin(scan, name.strip())
        call = TaggedCall(calls, name.strip())
        yield call.begin()
        scan.keep()
        while True:
            yield from scan.skip_space()
            if (yield from scan.expect("<parameter=", "</function>", "</tool_call>"))[1] == "/":
                break
            key = yield from scan.run(_NAME, _MAX_NAME)
            yield from scan.expect(">")
            yield from scan.takes("\n")
            yield from call.value(scan, key.strip(), ("\n</parameter>", "</parameter>"))
        yield from call.end(scan)
        yield from scan.skip_space()
        yield from scan.takes("</tool_call>")

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """As the templates write it, a line for each tag."""
        calls = []
        for tool in tools:
            head = lark.literal(f"\n<function={tool.name}>\n")
            calls.append(lark.rule(f"{head} {_TAGS.arguments(lark, tool)}"))
        end = lark.literal("</function>\n</tool_call>")
        one = lark.rule(f"{lark.one_of(calls)} {end}")
        if not several:
            return one
        opening = lark.literal("\n<tool_call>")
        return f"{one} ({opening} {one})*"
