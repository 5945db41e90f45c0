"""Strings of a schema as expressions, for dialects that write strings without quotes.

Room: chat. Knows JSON Schema's keywords for strings; must not know dialects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llguidance import regex_to_lark

from freehold.chat.dialects.lark import quoted
from freehold.chat.formats import FORMATS
from freehold.errors import BadSchema

__all__ = ["text_expression"]

_KNOWN = frozenset({"const", "enum", "format", "maxLength", "minLength", "pattern", "type"})
_QUIET = frozenset(
    {
        "$comment",
        "$defs",
        "definitions",
        "default",
        "deprecated",
        "description",
        "example",
        "examples",
        "nullable",
        "title",
    }
)


def text_expression(schema: Mapping[str, Any], at: str) -> str | None:
    """The strings that a schema of strings, or of strings and null, allows; None for no string.

    Raises: BadSchema naming the keyword that cannot be enforced.
    """
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema and not schema.keys() - _QUIET - {keyword}:
            parts = [part for part in schema[keyword] if _may_be_text(part)]
            found = [text_expression(part, f"{at}/{keyword}") for part in parts]
            texts = [part for part in found if part is not None]
            return f"({' | '.join(texts)})" if texts else None
    for keyword in schema:
        if keyword not in _KNOWN | _QUIET and not keyword.startswith("x-"):
            raise BadSchema(
                f"{keyword} at {at} cannot be enforced for the way this model writes calls",
                value=keyword,
            )
    if "const" in schema or "enum" in schema:
        return _values([schema["const"]] if "const" in schema else schema["enum"], schema, at)
    parts = [_length(schema)]
    if "pattern" in schema:
        parts.append(f"/{regex_to_lark(_whole(schema['pattern'], at), 'dw')}/")
    if "format" in schema:
        parts.append(f"/{regex_to_lark(FORMATS[schema['format']])}/")
    return " & ".join(parts)


def _may_be_text(schema: object) -> bool:
    kinds = schema.get("type") if isinstance(schema, Mapping) else None
    return kinds != "null"


def _values(values: Sequence[Any], schema: Mapping[str, Any], at: str) -> str | None:
    if schema.keys() & {"format", "maxLength", "minLength", "pattern"}:
        raise BadSchema(f"enum at {at} cannot be enforced beside other keywords", value="enum")
    texts = [quoted(value) for value in values if isinstance(value, str)]
    return f"({' | '.join(texts)})" if texts else None


def _length(schema: Mapping[str, Any]) -> str:
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    if not least and most is None:
        return r"/(.|\n)*/"
    return rf"/(.|\n){{{least},{'' if most is None else int(most)}}}/"


def _whole(pattern: str, at: str) -> str:
    """A pattern that may stand anywhere in a string, as one of the whole string."""
    inner = pattern.removeprefix("^")
    ends = inner.endswith("$") and not re.search(r"(?<!\\)(\\\\)*\\\$$", inner)
    inner = inner[:-1] if ends else inner
    begins = pattern.startswith("^")
    # Outside classes, with escapes set aside.
    bare = re.sub(r"\[(\\.|[^\]])*\]", "", re.sub(r"\\.", "", inner))
    if "^" in bare or "$" in bare or (("|" in _outermost(bare)) and (begins or ends)):
        raise BadSchema(
            f"pattern at {at} cannot be enforced for the way in which this model writes calls",
            value="pattern",
            expected="^ and $ at the pattern's ends only",
        )
    before = "" if begins else r"(.|\n)*"
    after = "" if ends else r"(.|\n)*"
    return f"{before}({inner}){after}"


def _outermost(pattern: str) -> str:
    """A pattern without its groups."""
    depth, kept = 0, []
    for character in pattern:
        depth += (character == "(") - (character == ")")
        if depth == 0:
            kept.append(character)
    return "".join(kept)
