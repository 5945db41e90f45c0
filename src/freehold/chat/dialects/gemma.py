"""Calls as a name and a mapping with bare keys, its strings between control tokens: Gemma 4.

Room: chat. Source: the published description of Gemma 4's prompt format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.chat.dialects.base import Calls, Dialect, Function
from freehold.chat.dialects.expressions import text_expression
from freehold.chat.dialects.lark import ANY_TEXT, Lark
from freehold.chat.dialects.parameters import parameters_of, types_of, with_definitions
from freehold.chat.dialects.scan import Reader, Scan, Unreadable
from freehold.chat.pieces import CallArguments
from freehold.errors import BadSchema

__all__ = ["Gemma"]

_CALL, _CALL_END, _RESULT = "<|tool_call>", "<tool_call|>", "<|tool_response>"
_QUOTE = '<|"|>'
_NAME = re.compile(r"[^{<\n]*")
_KEY = re.compile(r"[^:{}\[\],<\n]*")
_NOT_IN_KEYS = ":{}[],<\n"
_MAX_NAME = 256
_MAX_NESTING = 64
_SCALARS = frozenset({"boolean", "integer", "null", "number"})
_QUIET = frozenset({"$defs", "definitions", "default", "description", "examples", "title"})


class Gemma(Dialect):
    """`<|tool_call>call:name{key:<|"|>text<|"|>,other:1}<tool_call|>`, once per call."""

    name = "gemma"
    markers = (_CALL, _CALL_END, _RESULT, _QUOTE)
    starts = (_CALL,)
    opening = _CALL

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """One call; the mark after it, at which results would begin, is left out."""
        yield from scan.expect(_CALL)
        yield from scan.skip_space()
        yield from scan.expect("call:")
        name = (yield from scan.run(_NAME, _MAX_NAME)).strip()
        if (yield from scan.peek()) != "{":
            raise Unreadable
        yield from calls.begin(scan, name)
        yield from _Values(scan, calls).mapping(0)
        calls.end(scan)
        yield from scan.skip_space()
        yield from scan.takes(_CALL_END)
        yield from scan.takes(_RESULT)

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """Without white space, as the template writes it."""
        forms = _Forms(lark)
        calls = [f"{lark.literal(f'call:{tool.name}')} {forms.call(tool)}" for tool in tools]
        one = lark.rule(f"{lark.one_of(calls)} {lark.literal(_CALL_END)}")
        return f"{one} ({lark.literal(_CALL)} {one})*" if several else one


class _Forms:
    """The grammar of values, by their schemas."""

    def __init__(self, lark: Lark) -> None:
        self._lark = lark
        self._any: str | None = None

    def call(self, tool: Function) -> str:
        """A call's arguments."""
        if tool.schema is None:
            self.anything()
            return self._any_mapping
        return self._mapping(tool.schema)

    def anything(self) -> str:
        """Any value at all."""
        if self._any is None:
            lark = self._lark
            self._any = lark.named("any_value")
            self._any_mapping = lark.named("any_mapping")
            entry = lark.rule(f'/[^:{{}}\\[\\],<\\n"]{{1,64}}/ ":" {self._any}')
            lark.define(self._any_mapping, f'"{{" ({entry} ("," {entry})*)? "}}"')
            several = f'"[" ({self._any} ("," {self._any})*)? "]"'
            scalar = lark.json({"type": sorted(_SCALARS)})
            options = [self._text(ANY_TEXT), scalar, several, self._any_mapping]
            lark.define(self._any, " | ".join(options))
        return self._any

    def _text(self, inside: str) -> str:
        return f"{self._lark.literal(_QUOTE)} {self._lark.until(_QUOTE, inside)}"

    def _mapping(self, schema: Mapping[str, Any]) -> str:
        parts = []
        for parameter in parameters_of(schema):
            if not parameter.name or any(c in parameter.name for c in _NOT_IN_KEYS):
                raise BadSchema(
                    "properties has a name that cannot be written as this model writes calls",
                    value="properties",
                    expected=f"names without {_NOT_IN_KEYS!r}",
                )
            key = self._lark.literal(f"{parameter.name}:")
            value = self._value(parameter.schema, f"#/properties/{parameter.name}")
            parts.append((f"{key} {value}", parameter.required))
        return f'"{{" {self._lark.in_order(parts, ",")} "}}"'

    def _value(self, schema: Mapping[str, Any], at: str) -> str:
        types = types_of(schema, schema)
        if types is None:
            if schema.keys() - _QUIET:
                raise _unenforceable("type", at)
            return self.anything()
        kinds = types - _SCALARS
        if not kinds:
            return self._lark.json(schema)
        if kinds == {"string"} and types <= {"string", "null"}:
            texts = text_expression(schema, at)
            options = [] if texts is None else [self._text(texts)]
            options += ['"null"'] if "null" in types else []
            return self._lark.rule(" | ".join(options))
        if types == {"array"} and not schema.keys() - _QUIET - {"type", "items"}:
            items = with_definitions(schema.get("items", True), schema)
            one = self._lark.rule(self._value(items, f"{at}/items"))
            return f'"[" ({one} ("," {one})*)? "]"'
        if types == {"object"} and "properties" in schema:
            return self._mapping(schema)
        if types == {"object"} and not schema.keys() - _QUIET - {"type"}:
            self.anything()
            return self._any_mapping
        raise _unenforceable(next(iter(sorted(schema.keys() - _QUIET - {"type"})), "type"), at)


def _unenforceable(keyword: str, at: str) -> BadSchema:
    return BadSchema(
        f"{keyword} at {at} cannot be enforced for the way in which this model writes calls",
        value=keyword,
        hint="give it one type, and lists and objects no more than items and properties",
    )


class _Values:
    """Reads values and passes them on as JSON."""

    def __init__(self, scan: Scan, calls: Calls) -> None:
        self._scan = scan
        self._say = calls.arguments

    def mapping(self, nesting: int) -> Reader[None]:
        """A mapping, with its braces. Raises: Unreadable."""
        scan, separator = self._scan, ""
        yield from scan.expect("{")
        yield self._say("{")
        while True:
            yield from scan.skip_space()
            if (yield from scan.takes("}")):
                break
            quoted = yield from scan.takes(_QUOTE)
            key = (yield from scan.run(_KEY, _MAX_NAME)).strip()
            if quoted:
                yield from scan.expect(_QUOTE)
            if not key:
                raise Unreadable
            yield from scan.expect(":")
            yield self._say(f"{separator}{json.dumps(key, ensure_ascii=False)}: ")
            separator = ", "
            yield from self._value(nesting + 1)
            yield from scan.skip_space()
            if (yield from scan.expect(",", "}")) == "}":
                break
        yield self._say("}")

    def _value(self, nesting: int) -> Reader[None]:
        if nesting > _MAX_NESTING:
            raise Unreadable
        scan = self._scan
        yield from scan.skip_space()
        if (yield from scan.takes(_QUOTE)):
            yield self._say('"')
            yield from scan.until([_QUOTE], self._escaped)
            yield from scan.expect(_QUOTE)
            yield self._say('"')
        elif (yield from scan.peek()) == "{":
            yield from self.mapping(nesting)
        elif (yield from scan.takes("[")):
            yield from self._items(nesting)
        else:
            yield self._say((yield from scan.json_text()))

    def _items(self, nesting: int) -> Reader[None]:
        scan, separator = self._scan, ""
        yield self._say("[")
        while True:
            yield from scan.skip_space()
            if (yield from scan.takes("]")):
                break
            if separator:
                yield self._say(separator)
            separator = ", "
            yield from self._value(nesting + 1)
            yield from scan.skip_space()
            if (yield from scan.expect(",", "]")) == "]":
                break
        yield self._say("]")

    def _escaped(self, text: str) -> CallArguments:
        return self._say(json.dumps(text, ensure_ascii=False)[1:-1])
