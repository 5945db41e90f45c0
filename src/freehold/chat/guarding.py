"""What people wrote, kept from becoming control tokens when a template has rendered it.

Room: chat. Knows control strings and tools; must not know templates, dialects or requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from freehold.chat.control import ControlStrings
from freehold.chat.tools import Tool
from freehold.errors import BadRequest

if TYPE_CHECKING:
    from freehold.tokenizer import Tokenizer

__all__ = ["Given", "Marks", "encode", "free_marks"]

# Characters of the private use area: no language has them, few texts do.
_MARKS = [chr(code) for code in range(0xE000, 0xE100)]

# What a template compares with its own words, and what is no text.
_NOT_TEXT = frozenset({"role", "type", "id", "tool_call_id"})


@dataclass(frozen=True)
class Marks:
    """Characters that stand in none of the texts.

    `inside` what would read as a control token, which no text is; `apart` within what would read as
    a token that texts may be, such as `<tool_call>`; `end`: after a message to be continued.
    """

    inside: str
    apart: str
    end: str

    def out_of(self, text: str) -> str:
        """The text without marks, also where a template wrote them as JSON escapes."""
        return "".join(self.pieces(text))

    def pieces(self, text: str) -> list[str]:
        """The text without marks, in the pieces that are to be read apart."""
        for spelled in (self.inside, _escape(self.inside)):
            text = text.replace(spelled, "")
        return text.replace(_escape(self.apart), self.apart).split(self.apart)


def _escape(mark: str) -> str:
    return f"\\u{ord(mark):04x}"


def free_marks(texts: Sequence[str]) -> Marks:
    """Marks that stand in none of the texts. Raises: BadRequest when these hold too many."""
    free = [mark for mark in _MARKS if not any(mark in text for text in texts)]
    if len(free) < 3:
        raise BadRequest("the messages hold every character of the private use area")
    return Marks(*free[:3])


@dataclass(frozen=True)
class Given:
    """What people wrote and a template renders."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Tool]
    variables: Mapping[str, Any]

    def texts(self) -> Iterator[str]:
        """Every text in it."""
        tools = [tool.for_template() for tool in self.tools]
        return _texts([list(self.messages), tools, self.variables])

    def guarded(self, control: ControlStrings, mark: str, *, besides: str = "") -> Given:
        """The same with its control strings broken by a mark, but in messages of one role."""

        def safe(value: Any, key: str = "") -> Any:
            if isinstance(value, str):
                keeps = key in _NOT_TEXT and not control.occur_in(value)
                return value if keeps else control.broken_by(value, mark)
            if isinstance(value, Mapping):
                return {control.broken_by(k, mark): safe(inner, k) for k, inner in value.items()}
            return [safe(inner) for inner in value] if isinstance(value, list | tuple) else value

        tools = [
            replace(
                tool,
                name=safe(tool.name),
                description=safe(tool.description),
                parameters=safe(tool.parameters),
            )
            for tool in self.tools
        ]
        variables = {name: safe(value, "type") for name, value in self.variables.items()}
        messages = [m if m.get("role") == besides else safe(m) for m in self.messages]
        return Given(messages, tools, variables)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def encode(text: str, tokenizer: Tokenizer, control: ControlStrings, marks: Marks) -> list[int]:
    """The tokens of a rendered text: control strings are tokens where no mark breaks them."""
    if marks.out_of(text) == text:
        return tokenizer.encode(text, add_bos=False, parse_special=True)
    tokens: list[int] = []
    for part in control.split(text):
        if isinstance(part, int):
            tokens.append(part)
            continue
        for piece in filter(None, marks.pieces(part)):
            tokens += tokenizer.encode(piece, add_bos=False)
    return tokens
