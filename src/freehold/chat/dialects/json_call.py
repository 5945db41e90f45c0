"""Calls that are one JSON object with a name and arguments, as several dialects write them.

Room: chat. Knows the keys in use; must not know what surrounds the object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Function, whole_json
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan, Unreadable

__all__ = ["call_object", "read_call_object"]

_NAMES = ("name",)
_ARGUMENTS = ("arguments", "parameters")
# What some models write beside them.
_OTHERS = ("id", "type", "call_id")


def read_call_object(scan: Scan, calls: Calls) -> Reader[None]:
    """Reads {"name": ..., "arguments": {...}}, its keys in any order. Raises: Unreadable."""
    yield from scan.expect("{")
    name: str | None = None
    waiting: str | None = None  # arguments that came before the name
    done = False
    while True:
        yield from scan.skip_space()
        key = yield from scan.json_string()
        yield from scan.skip_space()
        yield from scan.expect(":")
        yield from scan.skip_space()
        if key in _NAMES and name is None:
            name = yield from scan.json_string()
            if name not in calls.tools:
                raise Unreadable
        elif key in _ARGUMENTS and not done and waiting is None:
            if name is not None and (yield from scan.peek()) == "{":
                yield from calls.stream_object(scan, name)
                done = True
            else:
                waiting = yield from _object_text(scan)
        elif key in _OTHERS:
            yield from scan.json_text()
        else:
            raise Unreadable
        yield from scan.skip_space()
        mark = yield from scan.takes(",", "}")
        if not (mark or done or waiting):
            raise Unreadable
        # Models forget the last brace; with arguments, what they called is clear all the same.
        if mark != ",":
            break
    if name is None:
        raise Unreadable
    if not done:
        yield from calls.whole(scan, name, "{}" if waiting is None else waiting)


def _object_text(scan: Scan) -> Reader[str]:
    """Arguments as an object, as a text that holds one, or as null. Raises: Unreadable."""
    text = yield from scan.json_text()
    value = json.loads(text)
    if value is None:
        return "{}"
    if isinstance(value, str):
        text = value
    if whole_json(text) is None:
        raise Unreadable
    return text


def call_object(lark: Lark, tools: Sequence[Function], *, arguments: str = "arguments") -> str:
    """The grammar of such an object for any of the tools."""
    return lark.one_of(
        [
            lark.rule(
                f"{lark.literal(_head(tool.name, arguments))} {lark.json(tool.arguments)} "
                f"{lark.literal('}')}"
            )
            for tool in tools
        ]
    )


def _head(name: str, arguments: str) -> str:
    return f'{{"name": {json.dumps(name, ensure_ascii=False)}, "{arguments}": '
