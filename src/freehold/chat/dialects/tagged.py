"""Calls whose arguments stand one by one between tags, as text.

Room: chat. Knows how values between tags are read and enforced; must not know any dialect's tags.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.chat.dialects.base import Calls, Function
from freehold.chat.dialects.expressions import text_expression
from freehold.chat.dialects.lark import ANY_TEXT, Lark
from freehold.chat.dialects.parameters import (
    Parameter,
    as_json,
    json_or_text,
    parameter_types,
    parameters_of,
    types_of,
)
from freehold.chat.dialects.scan import Reader, Scan, Unreadable
from freehold.chat.pieces import CallArguments
from freehold.errors import BadSchema

__all__ = ["TaggedCall", "Tags"]

_TEXT = frozenset({"string"})


class TaggedCall:
    """The arguments of one call, put together to a JSON object as they are read."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._schema = calls.tools[name].parameters if name in calls.tools else {}
        self._count = 0

    def _opened(self, key: str, *, quote: bool) -> CallArguments:
        separator = ", " if self._count else ""
        self._count += 1
        opening = '"' if quote else ""
        return self._calls.arguments(f"{separator}{json.dumps(key, ensure_ascii=False)}: {opening}")

    def value(
        self, scan: Scan, key: str, ends: Sequence[str], *, is_text: bool | None = None
    ) -> Reader[None]:
        """Reads a value up to one of `ends` and past it.

        `is_text`: whether the model said that it is a string. Raises: Unreadable at the text's end.
        """
        types = parameter_types(self._schema, key)
        if is_text or (is_text is None and types == _TEXT):
            yield from self._text(scan, key, ends)
            return
        text, found = yield from scan.until(ends)
        if not found:
            raise Unreadable
        scan.at += len(found)
        yield self._opened(key, quote=False)
        said = json_or_text(text) if is_text is False else as_json(text, types)
        yield self._calls.arguments(said)
        scan.keep()

    def _text(self, scan: Scan, key: str, ends: Sequence[str]) -> Reader[None]:
        """A string, passed on as it comes."""
        scan.let_go()
        yield self._opened(key, quote=True)
        _, found = yield from scan.until(ends, self._escaped)
        if not found:
            raise Unreadable
        scan.at += len(found)
        yield self._calls.arguments('"')
        scan.keep()

    def _escaped(self, text: str) -> CallArguments:
        return self._calls.arguments(json.dumps(text, ensure_ascii=False)[1:-1])

    def begin(self) -> CallArguments:
        """The object's beginning."""
        return self._calls.arguments("{")

    def end(self, scan: Scan) -> Reader[None]:
        """The object's end."""
        yield self._calls.arguments("}")
        self._calls.end(scan)


@dataclass(frozen=True)
class Tags:
    """How a dialect writes an argument, for its grammar.

    `before` and `after` stand around the name; a value begins right after and ends with `end`.
    `after_other` stands after the name of what is no string, where that differs. No name holds one
    of the characters of `not_in_names`, no value `never`, where a reader would end it.
    """

    before: str
    after: str
    end: str
    not_in_names: str
    never: str = ""
    after_other: str | None = None

    def arguments(self, lark: Lark, function: Function) -> str:
        """The grammar of all arguments of a call, in the order of the schema."""
        if function.schema is None:
            name = f"/[^{_in_class(self.not_in_names)}\\n]+/"
            any_one = f"{lark.literal(self.before)} {name} {lark.literal(self.after)}"
            return f"({any_one} {self._until(lark)})*"
        parts = [
            self._argument(lark, parameter) + ("" if parameter.required else "?")
            for parameter in parameters_of(function.schema)
        ]
        return " ".join(parts) if parts else '""'

    def _until(self, lark: Lark, before: str = ANY_TEXT) -> str:
        return lark.until(self.end, before, never=[self.never])

    def _argument(self, lark: Lark, parameter: Parameter) -> str:
        name = parameter.name
        if not name or any(c in name for c in self.not_in_names + "\n"):
            raise BadSchema(
                "properties at # has a name that cannot be written the way this model writes calls",
                value="properties",
                expected=f"names without {self.not_in_names!r} and line breaks",
            )
        values = [
            lark.rule(f"{lark.literal(self.before + name + after)} {value}")
            for after, value in self._values(lark, parameter)
        ]
        return lark.rule(lark.one_of(values))

    def _values(self, lark: Lark, parameter: Parameter) -> list[tuple[str, str]]:
        """What may come after the name: the rest of the tag, and the value with its end."""
        schema = parameter.schema
        types = types_of(schema, schema)
        other = self.after if self.after_other is None else self.after_other
        if types is None and not _says_anything(schema):
            return [(self.after, self._until(lark))]
        if types is not None and "string" not in types:
            return [(other, f"{lark.json(schema)} {lark.literal(self.end)}")]
        if types is not None and types <= {"string", "null"}:
            texts = text_expression(schema, f"#/properties/{parameter.name}")
            values = [(self.after, self._until(lark, texts))] if texts is not None else []
            if "null" in types:
                values.append((other, lark.literal("null" + self.end)))
            return values
        if self.after_other is not None:
            # The tag says what is a string; any value can stand there as JSON.
            return [(other, f"{lark.json(schema)} {lark.literal(self.end)}")]
        raise BadSchema(
            f"the type at #/properties/{parameter.name} cannot be enforced: the way in which this "
            "model writes calls does not tell a string from another value",
            value="type",
            hint="give the argument one type, or string and null",
        )


def _says_anything(schema: Mapping[str, Any]) -> bool:
    quiet = {"$defs", "definitions", "title", "description", "default", "examples", "example"}
    return bool(schema.keys() - quiet)


def _in_class(characters: str) -> str:
    return "".join("\\" + c if c in "]\\^-/[" else c for c in characters)
