"""Calls as JSON between <tool_call> tags; Hermes began it, Qwen and many others follow.

Room: chat. Source: the chat templates of Hermes 3, Qwen 2.5 and Qwen 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Dialect, Function
from freehold.chat.dialects.json_call import call_object, read_call_object
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan

__all__ = ["Hermes"]


class Hermes(Dialect):
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, once per call."""

    name = "hermes"
    markers = ("<tool_call>", "</tool_call>")
    starts = ("<tool_call>",)
    opening = "<tool_call>"

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """One call, and its closing tag if it is there."""
        yield from scan.expect("<tool_call>")
        yield from scan.skip_space()
        yield from read_call_object(scan, calls)
        yield from scan.skip_space()
        yield from scan.takes("</tool_call>")

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """As the templates write it, a line for each tag."""
        call = call_object(lark, tools)
        one = lark.rule(rf'"\n" {call} "\n" {lark.literal("</tool_call>")}')
        if not several:
            return one
        return f'{one} ("\\n" {lark.literal("<tool_call>")} {one})*'
