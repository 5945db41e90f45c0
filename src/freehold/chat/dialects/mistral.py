"""Calls after a control token, in the forms of Mistral's tokenizers from version 3 on.

Room: chat. Source: mistral-common's instruct tokenizers, and the chat templates of Nemo, Small 3.2,
Devstral and Ministral.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Dialect, Function, Messages, random_id
from freehold.chat.dialects.json_call import call_object, read_call_object
from freehold.chat.dialects.lark import Lark, quoted
from freehold.chat.dialects.scan import Reader, Scan

__all__ = ["Mistral"]

_START = "[TOOL_CALLS]"
_NAME = re.compile(r"[^\[{\n]*")
_ID = re.compile(r"[a-zA-Z0-9]*")
_MAX_NAME = 256
_ID_LENGTH = 9


class Mistral(Dialect):
    """A list of JSON objects (version 3), or a name and its arguments after each start (11, 13).

    Both are read whichever the template is for, since models are converted with wrong templates.
    """

    markers = (_START, "[CALL_ID]", "[ARGS]")
    starts = (_START,)
    opening = _START

    def __init__(self, name: str, *, as_list: bool, with_id: bool) -> None:
        self.name = name
        self._as_list = as_list
        self._with_id = with_id

    def call_id(self, name: str, index: int) -> str:
        """Nine letters and digits: templates refuse any other."""
        del name, index
        return random_id(_ID_LENGTH)

    def history(self, messages: Messages) -> Messages:
        """Ids of other forms, from other servers, as ids of this one; calls and results agree."""
        return [
            {
                **message,
                **(
                    {"tool_calls": [{**c, "id": _own_id(c.get("id"))} for c in calls]}
                    if (calls := message.get("tool_calls"))
                    else {}
                ),
                **(
                    {"tool_call_id": _own_id(message["tool_call_id"])}
                    if message.get("tool_call_id") is not None
                    else {}
                ),
            }
            for message in messages
        ]

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """The calls of one start, in any of the forms."""
        yield from scan.expect(_START)
        yield from scan.skip_space()
        if (yield from scan.takes("[")):
            yield from self._list(scan, calls)
        elif (yield from scan.peek()) == "{":
            yield from read_call_object(scan, calls)
        else:
            yield from self._named(scan, calls)

    def _list(self, scan: Scan, calls: Calls) -> Reader[None]:
        while True:
            yield from scan.skip_space()
            yield from read_call_object(scan, calls)
            yield from scan.skip_space()
            if (yield from scan.takes(",", "]")) != ",":
                return

    def _named(self, scan: Scan, calls: Calls) -> Reader[None]:
        name = (yield from scan.run(_NAME, _MAX_NAME)).strip()
        if (yield from scan.takes("[CALL_ID]")):
            yield from scan.run(_ID, _MAX_NAME)
        yield from scan.takes("[ARGS]")
        yield from scan.skip_space()
        yield from calls.stream_object(scan, name)

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """The form of the model's own version."""
        if self._as_list:
            # Models of this version write an id after the arguments, or none.
            many = rf"(/,[ ]?/ {call_object(lark, tools)})*" if several else ""
            return rf'/[ ]?\[/ {call_object(lark, tools)} {many} "]"'
        middle = lark.literal("[ARGS]")
        if self._with_id:
            middle = f"{lark.literal('[CALL_ID]')} /[a-zA-Z0-9]{{9}}/ {middle}"
        calls = [f"{quoted(tool.name)} {middle} {lark.json(tool.arguments)}" for tool in tools]
        one = lark.rule(lark.one_of(calls))
        return f"{one} ({lark.literal(_START)} {one})*" if several else one


def _own_id(given: object) -> str:
    text = str(given)
    if len(text) == _ID_LENGTH and text.isascii() and text.isalnum():
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]
