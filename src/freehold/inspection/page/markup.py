"""HTML from functions: whatever is not already markup is escaped, and made visible.

Room: inspection. Knows HTML's syntax; must not know reports.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from html import escape

__all__ = ["Html", "join", "tag", "text"]

_ORDINARY = frozenset("\n\t")
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs"})


class Html(str):
    """Markup that needs no escaping; only this module and the page's own constants make any."""

    __slots__ = ()


def text(value: object) -> Html:
    """A text as markup. Characters that hide, reorder or drive are written as their numbers."""
    if isinstance(value, Html):
        return value
    raw = str(value)
    if not raw.isascii() or not raw.isprintable():
        raw = "".join(
            c if c in _ORDINARY or unicodedata.category(c) not in _HIDDEN else f"\\u{ord(c):04x}"
            for c in raw
        )
    return Html(escape(raw, quote=True))


def tag(
    name: str, *inner: object, attributes: Mapping[str, object] | None = None, of: str = ""
) -> Html:
    """An element; `of` is its class. Attributes that are None are left out, true ones stand bare.

    Names of elements and attributes are always ours, never a file's.
    """
    every: dict[str, object] = {"class": of or None, **(attributes or {})}
    told = "".join(
        f" {key}" if value is True else f' {key}="{text(value)}"'
        for key, value in every.items()
        if value is not None and value is not False
    )
    if name in ("input", "meta", "br", "img"):
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{join(inner)}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """Parts one after another, None left out."""
    return Html("".join(text(part) for part in parts if part is not None))
