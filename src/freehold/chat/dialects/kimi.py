"""Calls between control tokens, each with an id that says its name, as Kimi K2 writes them.

Room: chat. Source: the chat template of Kimi K2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from typing import Any

from freehold.chat.dialects.base import Calls, Dialect, Function, Messages
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan

__all__ = ["Kimi"]

_CALLS = "<|tool_calls_section_begin|>"
_CALLS_END = "<|tool_calls_section_end|>"
_CALL = "<|tool_call_begin|>"
_ARGUMENTS = "<|tool_call_argument_begin|>"
_CALL_END = "<|tool_call_end|>"
_ID = re.compile(r"[^<\n]*")
_MAX_ID = 256


class Kimi(Dialect):
    """`begin functions.name:0 arguments {...} end`, within a section."""

    name = "kimi"
    markers = (_CALLS, _CALLS_END, _CALL, _ARGUMENTS, _CALL_END)
    starts = (_CALLS,)
    opening = _CALLS
    ends_reasoning = True

    def call_id(self, name: str, index: int) -> str:
        """The form that the model reads the name from."""
        return f"functions.{name}:{index}"

    def history(self, messages: Messages) -> Messages:
        """Every call's id in that form, counted through the conversation, and its result's."""
        numbers, ids = count(), {}
        done: list[dict[str, Any]] = []
        for message in messages:
            changed = dict(message)
            if calls := message.get("tool_calls"):
                renamed = []
                for call in calls:
                    own = self.call_id(call["function"]["name"], next(numbers))
                    ids[call.get("id")] = own
                    renamed.append({**call, "id": own})
                changed["tool_calls"] = renamed
            if message.get("tool_call_id") in ids:
                changed["tool_call_id"] = ids[message["tool_call_id"]]
            done.append(changed)
        return done

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """The whole section."""
        yield from scan.expect(_CALLS)
        while True:
            yield from scan.skip_space()
            if not (yield from scan.takes(_CALL)):
                yield from scan.expect(_CALLS_END)
                return
            said = (yield from scan.run(_ID, _MAX_ID)).strip()
            yield from scan.expect(_ARGUMENTS)
            yield from scan.skip_space()
            name = said.removeprefix("functions.").rsplit(":", 1)[0]
            yield from calls.stream_object(scan, name)
            yield from scan.skip_space()
            yield from scan.takes(_CALL_END)

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """As the template writes it, with any number in the id."""
        calls = []
        for tool in tools:
            head = lark.literal(f"{_CALL}functions.{tool.name}:")
            middle, end = lark.literal(_ARGUMENTS), lark.literal(_CALL_END)
            calls.append(f"{head} /[0-9]{{1,4}}/ {middle} {lark.json(tool.arguments)} {end}")
        one = lark.rule(lark.one_of(calls))
        return f"{one}{'+' if several else ''} {lark.literal(_CALLS_END)}"
