"""Calls as a list in Python's syntax, as Llama 4 writes them, and Llama 3.2's small models.

Room: chat. Source: Meta's prompt formats for both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Dialect, Function
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.parameters import Parameter, parameters_of
from freehold.chat.dialects.scan import Reader, Scan, Unreadable
from freehold.errors import BadSchema

__all__ = ["LlamaPythonic"]

_START, _END = "<|python_start|>", "<|python_end|>"
_NAME = re.compile(r"[\w.-]*")
_MAX_NAME = 256
_PLAIN = {"'": re.compile(r"[^'\\]*"), '"': re.compile(r'[^"\\]*')}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": "", "0": "\0"}
_HEX = {"x": 2, "u": 4, "U": 8}
_WORDS = {"True": "true", "False": "false", "None": "null"}
_NUMBER = re.compile(r"[-+.0-9eE_]*")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_MAX_NUMBER = 400
_MAX_NESTING = 64


class LlamaPythonic(Dialect):
    """`[name(key=value, ...), ...]`, its values literals of Python or JSON."""

    name = "llama_pythonic"
    markers = (_START, _END)

    def starts_for(self, names: Sequence[str]) -> tuple[str, ...]:
        """A list that begins with a call of a tool."""
        return (_START, *(f"[{name}(" for name in names))

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """The whole list."""
        yield from scan.takes(_START)
        yield from scan.skip_space()
        yield from scan.expect("[")
        while True:
            yield from scan.skip_space()
            name = yield from scan.run(_NAME, _MAX_NAME)
            yield from scan.expect("(")
            yield from calls.begin(scan, name)
            yield from _Arguments(scan, calls).read()
            calls.end(scan)
            yield from scan.skip_space()
            if (yield from scan.takes(",", "]")) != ",":
                break
        yield from scan.takes(_END)

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """The list, its values as JSON, which is read as well."""
        one = lark.rule(lark.one_of([_call(lark, tool) for tool in tools]))
        many = f'(", " {one})*' if several else ""
        return f'"[" {one} {many} "]"'


def _call(lark: Lark, tool: Function) -> str:
    if not _NAME.fullmatch(tool.name):
        raise BadSchema(
            "a tool's name cannot be called in Python's syntax", param="tools", value=tool.name
        )
    if tool.schema is None:
        argument = f"/[a-zA-Z_][a-zA-Z0-9_]{{0,63}}=/ {lark.json(True)}"
        return f'{lark.literal(tool.name + "(")} ({argument} (", " {argument})*)? ")"'
    parameters = parameters_of(tool.schema)
    values = [
        (f"{lark.literal(_key(p) + '=')} {lark.json(p.schema)}", p.required) for p in parameters
    ]
    return f'{lark.literal(tool.name + "(")} {lark.in_order(values, ", ")} ")"'


def _key(parameter: Parameter) -> str:
    if not parameter.name.isidentifier():
        raise BadSchema(
            "properties at # has a name that cannot be written in Python's syntax",
            value="properties",
            expected="letters, digits and low lines",
        )
    return parameter.name


class _Arguments:
    """Reads what stands between the parentheses of a call and passes it on as JSON."""

    def __init__(self, scan: Scan, calls: Calls) -> None:
        self._scan = scan
        self._say = calls.arguments

    def read(self) -> Reader[None]:
        """Up to and with the closing parenthesis. Raises: Unreadable."""
        scan, separator = self._scan, ""
        yield self._say("{")
        while True:
            yield from scan.skip_space()
            if (yield from scan.takes(")")):
                break
            key = yield from scan.run(_NAME, _MAX_NAME)
            yield from scan.skip_space()
            yield from scan.expect("=")
            if not key:
                raise Unreadable
            yield self._say(f"{separator}{json.dumps(key, ensure_ascii=False)}: ")
            separator = ", "
            yield from self._value(0)
            yield from scan.skip_space()
            if (yield from scan.expect(",", ")")) == ")":
                break
        yield self._say("}")

    def _value(self, nesting: int) -> Reader[None]:
        if nesting > _MAX_NESTING:
            raise Unreadable
        scan = self._scan
        yield from scan.skip_space()
        first = yield from scan.peek()
        if first in ("'", '"'):
            yield from self._string(first)
        elif first == "[":
            yield from self._items("[", "]", nesting)
        elif first == "(":
            yield from self._items("(", ")", nesting)
        elif first == "{":
            yield from self._items("{", "}", nesting)
        elif first and first in "+-.0123456789":
            yield from self._number()
        else:
            word = yield from scan.expect(*_WORDS, *_WORDS.values())
            yield self._say(_WORDS.get(word, word))

    def _items(self, opening: str, closing: str, nesting: int) -> Reader[None]:
        scan, separator = self._scan, ""
        yield from scan.expect(opening)
        yield self._say("{" if opening == "{" else "[")
        while True:
            yield from scan.skip_space()
            if (yield from scan.takes(closing)):
                break
            yield self._say(separator)
            separator = ", "
            if opening == "{":
                quote = yield from scan.peek()
                if quote not in ("'", '"') or not quote:
                    raise Unreadable
                yield from self._string(quote)
                yield from scan.skip_space()
                yield from scan.expect(":")
                yield self._say(": ")
            yield from self._value(nesting + 1)
            yield from scan.skip_space()
            if (yield from scan.expect(",", closing)) == closing:
                break
        yield self._say("}" if opening == "{" else "]")

    def _number(self) -> Reader[None]:
        text = yield from self._scan.run(_NUMBER, _MAX_NUMBER)
        text = text.removeprefix("+").replace("_", "")
        text = "0" + text if text.startswith(".") else text
        text = text + "0" if text.endswith(".") else text
        if not _JSON_NUMBER.fullmatch(text):
            raise Unreadable
        yield self._say(text)

    def _string(self, quote: str) -> Reader[None]:
        scan = self._scan
        yield from scan.expect(quote)
        yield self._say('"')
        while True:
            found = _PLAIN[quote].match(scan.text, scan.at)
            assert found is not None, "it matches nothing too"
            if found.group():
                scan.at = found.end()
                yield self._say(json.dumps(found.group(), ensure_ascii=False)[1:-1])
            if (yield from scan.peek()) == "":
                raise Unreadable
            if (yield from scan.takes(quote)):
                break
            if (yield from scan.takes("\\")):
                yield self._say(json.dumps((yield from self._escape()))[1:-1])
        yield self._say('"')

    def _escape(self) -> Reader[str]:
        scan = self._scan
        letter = yield from scan.peek()
        if not letter:
            raise Unreadable
        scan.at += 1
        if letter not in _HEX:
            return _ESCAPES.get(letter, letter)
        digits = yield from scan.peek(_HEX[letter])
        try:
            character = chr(int(digits, 16))
        except (ValueError, OverflowError):
            raise Unreadable from None
        scan.at += len(digits)
        return character
