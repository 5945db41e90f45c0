"""The methods of texts, lists and mappings that templates may call, none of which can explode.

Room: chat. Knows built-in values; must not know templates or messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from string import Formatter
from typing import Any

from freehold.chat.meter import ELEMENT_UNITS, METER, not_offered, over_limit

__all__ = ["GUARDED", "METHODS", "join", "replace", "strip"]

# Taking characters off an end, and searching from the right, cost text times pattern.
_MAX_PATTERN_CHARS = 64
_BLANK = "".join(chr(c) for c in range(0x3001) if chr(c).isspace())
_SPEC = re.compile(r"[<>^=]?[-+ ]?0?\d{0,2}(\.\d{1,2})?[bdefgosxX%]?")
_LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def _count(text: str, characters: str) -> int:
    return sum(map(text.count, characters))


def _short(pattern: str | None) -> str | None:
    if pattern is not None and len(pattern) > _MAX_PATTERN_CHARS:
        raise over_limit("a search pattern's length", _MAX_PATTERN_CHARS, "characters")
    return pattern


def strip(text: str, chars: str | None = None) -> str:
    """`str.strip` with a short set of characters."""
    return text.strip(_short(chars))


def _lstrip(text: str, chars: str | None = None) -> str:
    return text.lstrip(_short(chars))


def _rstrip(text: str, chars: str | None = None) -> str:
    return text.rstrip(_short(chars))


def _charge_pieces(text: str, sep: str | None) -> None:
    pieces = _count(text, _BLANK) if sep is None else text.count(sep)
    METER.get().charge(ELEMENT_UNITS * (pieces + 1))


def _split(text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    if maxsplit < 0:
        _charge_pieces(text, sep)
    return text.split(sep, maxsplit)


def _rsplit(text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    if maxsplit < 0:
        _charge_pieces(text, sep)
    return text.rsplit(_short(sep), maxsplit)


def _splitlines(text: str, keepends: bool = False) -> list[str]:
    METER.get().charge(ELEMENT_UNITS * (_count(text, _LINE_ENDS) + 1))
    return text.splitlines(keepends)


def join(separator: str, parts: Iterable[str]) -> str:
    """`str.join`, charged before it runs."""
    texts = list(parts)
    total = sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1)
    METER.get().charge(total)
    return separator.join(texts)


def replace(text: str, old: str, new: str, count: int | None = None) -> str:
    """`str.replace`, charged before it runs."""
    most = -1 if count is None else count
    found = text.count(old)
    grown = max(0, len(new) - len(old)) * (found if most < 0 else min(found, most))
    METER.get().charge(len(text) + grown)
    return text.replace(old, new, most)


def _rfind(text: str, sub: str, *place: int) -> int:
    return text.rfind(str(_short(sub)), *place)


def _rindex(text: str, sub: str, *place: int) -> int:
    return text.rindex(str(_short(sub)), *place)


def _rpartition(text: str, sep: str) -> tuple[str, str, str]:
    return text.rpartition(str(_short(sep)))


def _format(text: str, *values: object) -> str:
    """`str.format` for plain values in narrow fields: no attributes, no widths of a million."""
    pieces = []
    for count, (literal, field, spec, conversion) in enumerate(Formatter().parse(text)):
        pieces.append(literal)
        if field is None:
            continue
        if conversion or not (field == "" or field.isdecimal()) or not _SPEC.fullmatch(spec or ""):
            raise not_offered("this form of", "format")
        value = values[int(field) if field else count]
        if not isinstance(value, str | int | float):
            raise TypeError("not a plain value")
        pieces.append(format(value, spec or ""))
    return join("", pieces)


# What runs in place of the method of the same name.
GUARDED: dict[str, Callable[..., Any]] = {
    "format": _format,
    "join": join,
    "lstrip": _lstrip,
    "replace": replace,
    "rfind": _rfind,
    "rindex": _rindex,
    "rpartition": _rpartition,
    "rsplit": _rsplit,
    "rstrip": _rstrip,
    "split": _split,
    "splitlines": _splitlines,
    "strip": strip,
}

_HARMLESS_TEXT = (
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit "
    "islower isnumeric isspace istitle isupper lower partition removeprefix removesuffix "
    "startswith swapcase title upper"
)

# By exact type. Everything else about a value is out of reach.
METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_HARMLESS_TEXT.split()) | GUARDED.keys(),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
}
