"""Calls as a name and pairs of tags for each argument, as GLM 4.5 and later write them.

Room: chat. Source: the chat templates of GLM 4.6 and 4.7.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Dialect, Function
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan
from freehold.chat.dialects.tagged import TaggedCall, Tags

__all__ = ["Glm"]

_NAME = re.compile(r"[^<\n]*")
_MAX_NAME = 256
_TAGS = Tags(
    before="<arg_key>",
    after="</arg_key>\n<arg_value>",
    end="</arg_value>\n",
    not_in_names="<",
    never="</arg_value>",
)


class Glm(Dialect):
    """`<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>`."""

    name = "glm"
    markers = (
        "<tool_call>",
        "</tool_call>",
        "<arg_key>",
        "</arg_key>",
        "<arg_value>",
        "</arg_value>",
    )
    starts = ("<tool_call>",)
    opening = "<tool_call>"
    ends_reasoning = True

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """One call and its closing tag."""
        yield from scan.expect("<tool_call>")
        yield from scan.skip_space()
        name = (yield from scan.run(_NAME, _MAX_NAME)).strip()
        yield from scan.skip_space()
        tag = yield from scan.expect("<arg_key>", "</tool_call>")
        yield from calls.begin(scan, name)
        call = TaggedCall(calls, name)
        yield call.begin()
        while tag == "<arg_key>":
            key = yield from scan.run(_NAME, _MAX_NAME)
            yield from scan.expect("</arg_key>")
            yield from scan.skip_space()
            yield from scan.expect("<arg_value>")
            yield from call.value(scan, key.strip(), ("</arg_value>",))
            yield from scan.skip_space()
            tag = yield from scan.expect("<arg_key>", "</tool_call>")
        yield from call.end(scan)

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """As the templates write it, a line for each tag."""
        calls = []
        for tool in tools:
            head = lark.literal(f"{tool.name}\n")
            calls.append(lark.rule(f"{head} {_TAGS.arguments(lark, tool)}"))
        one = lark.rule(f"{lark.one_of(calls)} {lark.literal('</tool_call>')}")
        if not several:
            return one
        opening = lark.literal("\n<tool_call>")
        return f"{one} ({opening} {one})*"
