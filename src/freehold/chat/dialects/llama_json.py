"""Calls as bare JSON, as Llama 3 writes them.

Room: chat. Source: the chat templates of Llama 3.1 to 3.3.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Dialect, Function, Messages
from freehold.chat.dialects.json_call import call_object, read_call_object
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan
from freehold.chat.history import one_call_each

__all__ = ["LlamaJson"]

_TAGS = ("<|python_tag|>", "<|python_start|>")
_END = "<|python_end|>"
# How a call may begin. Any other way of spacing it is rare, and then text.
_KEYS = ('{"name"', '{ "name"', '{\n  "name"', '{\n    "name"')
_KINDS = ('{"type": "function", "name"', '{"type":"function","name"')


class LlamaJson(Dialect):
    """`{"name": ..., "parameters": {...}}`, with a control token before it or none."""

    name = "llama_json"
    markers = (*_TAGS, _END)

    def starts_for(self, names: Sequence[str]) -> tuple[str, ...]:
        """The control tokens, and an object that begins with the name of a tool."""
        quoted = [json.dumps(name, ensure_ascii=False) for name in names]
        spelled = [
            f"{key}{colon}{name}" for key in _KEYS for colon in (": ", ":") for name in quoted
        ]
        return (*_TAGS, *spelled, *_KINDS)

    def history(self, messages: Messages) -> Messages:
        """One call to a message, which is all that the templates know, and its result after it."""
        return one_call_each(messages)

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """One call, and others that follow it at once."""
        yield from scan.takes(*_TAGS)
        while True:
            yield from scan.skip_space()
            yield from read_call_object(scan, calls)
            yield from scan.takes(_END)
            yield from scan.skip_space()
            if not (yield from scan.takes(";")):
                return

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """One call: the templates know no answer with several."""
        del several
        return call_object(lark, tools, arguments="parameters")
