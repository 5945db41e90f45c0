"""Writing grammars in llguidance's Lark form, with control tokens by their ids.

Room: chat. Knows that form and a tokenizer's control tokens; must not know dialects or requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.chat.control import ControlStrings
from freehold.chat.formats import enforceable

__all__ = ["ANY_TEXT", "JSON_SPACE", "Lark", "quoted"]

ANY_TEXT = r"/(.|\n)*/"

# White space between the tokens of JSON: a blank, or a line break and an indent. With no bound, a
# model that has lost its way writes blanks until its tokens are used up.
JSON_SPACE = r"[ ]|\r?\n[ \t]{0,32}"


def quoted(text: str) -> str:
    """A text as a Lark string."""
    return json.dumps(text, ensure_ascii=False)


class Lark:
    """A grammar under construction. What the methods return are expressions for further rules."""

    def __init__(self, control: ControlStrings) -> None:
        self._control = control
        self._rules: list[str] = []

    def rule(self, body: str, *, lazy: bool = False) -> str:
        """Adds a rule and returns its name. A lazy one, of text only, ends as early as it can."""
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{'[lazy]' if lazy else ''}: {body}")
        return name

    def named(self, name: str) -> str:
        """The name of a rule that `define` will say, for rules that contain themselves."""
        return f"{name}{len(self._rules)}"

    def define(self, name: str, body: str) -> None:
        """Says what a `named` rule is. Mutates: the grammar."""
        self._rules.append(f"{name}: {body}")

    def in_order(self, parts: Sequence[tuple[str, bool]], separator: str) -> str:
        """Expressions in this order, each with whether it must be there, a separator between."""
        between = quoted(separator)
        # What may follow once a part is written, and while none is: the separator depends on it.
        after, first = '""', '""'
        for value, required in reversed(parts):
            begun = self.rule(f"{value} {after}")
            first = begun if required else self.rule(f"{begun} | {first}")
            next_one = f"({between} {value})" + ("" if required else "?")
            after = self.rule(f"{next_one} {after}")
        return first

    def literal(self, text: str) -> str:
        """Exactly this text, its control strings as the tokens they are."""
        parts = (
            f"<[{part}]>" if isinstance(part, int) else quoted(part)
            for part in self._control.split(text)
        )
        return " ".join(parts)

    def json(self, schema: Mapping[str, Any] | bool) -> str:
        """A JSON value by a schema."""
        options = {"whitespace_pattern": JSON_SPACE}
        if isinstance(schema, bool):
            schema = {} if schema else {"not": {}}
        return f"%json {json.dumps({'x-guidance': options, **enforceable(schema)})}"

    def one_of(self, expressions: list[str]) -> str:
        """Any one of the expressions."""
        return f"({' | '.join(expressions)})"

    def text(self, never: Sequence[str] = ()) -> str:
        """Any text in which none of `never` stands."""
        return self._terminal(self._without(ANY_TEXT, never))

    def until(self, text: str, before: str = ANY_TEXT, *, never: Sequence[str] = ()) -> str:
        """Any text, or one of `before`, up to and with the first place where `text` stands.

        None of `never` stands before that.
        """
        before = self._without(before, never)
        parts = list(self._control.split(text))
        if isinstance(parts[0], int):
            return f"{self._terminal(before)} {self.literal(text)}"
        # A control token ends the text before it; plain text does where it first can.
        head = self._terminal(f"({before}) {quoted(parts[0])}")
        if len(parts) == 1:
            return self.rule(head, lazy=True)
        return f"{head} {self.literal(text[len(parts[0]) :])}"

    def _without(self, before: str, never: Sequence[str]) -> str:
        # No expression for text allows a control token, so that those need no mention.
        plain = [text for text in never if not self._control.occur_in(text)]
        if not plain:
            return before
        anywhere = "|".join(map(_plain, plain))
        return f"({before}) & {ANY_TEXT} & ~/(?s:.*)({anywhere})(?s:.*)/"

    def _terminal(self, body: str) -> str:
        """A part that is one expression to the lexer, which may join others with & and |."""
        name = f"T{len(self._rules)}"
        self._rules.append(f"{name}: {body}")
        return name

    def written(self, start: str) -> str:
        """The whole grammar, which begins with this expression."""
        return "\n".join(["%llguidance {}", f"start: {start}", *self._rules]) + "\n"


def _plain(text: str) -> str:
    """A text as part of an expression between slashes."""
    return re.escape(text).replace("/", "\\/").replace("\n", "n")
