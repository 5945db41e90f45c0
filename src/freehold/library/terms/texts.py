"""Licence texts: normalised, hashed, and recognised.

Room: library. Works on text alone; must not know where it came from.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from freehold.library.terms.licences import Licence, known_licences, licence_text

__all__ = ["MAX_TEXT_BYTES", "Recognised", "normalised", "recognise", "text_digest"]

MAX_TEXT_BYTES = 512 << 10
"""The most that a licence file may hold; the longest known has 40 KB."""

_QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-"})
_COPYRIGHT = re.compile(
    r"^[^\w\n(©]{0,20}(copyright|\(c\)|©)\W.{0,200}$", re.IGNORECASE | re.MULTILINE
)
# What the Apache License's appendix shows as a pattern, and many fill in.
_APPENDIX = re.compile(r"appendix: how to apply.{0,1500}?limitations under the license\.?")
# Where a clause stands in another document than the licence itself.
_ELSEWHERE = ("use policy",)


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What a text turned out to be; `missing` are clauses of it that the text does not have."""

    licence: Licence
    exact: bool
    missing: tuple[str, ...] = ()


def text_digest(text: str) -> str:
    """`sha256:<hex>` of a text as it is."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def normalised(text: str) -> str:
    """A text without what copies change: case, space, quotes, markup, holders of copyright."""
    bare = _COPYRIGHT.sub(" ", text.translate(_QUOTES))
    words = re.sub(r"[*_#>\\`]+", "", bare).lower().split()
    return _APPENDIX.sub("", " ".join(words)).strip()


def recognise(text: str) -> Recognised | None:
    """The known licence that a text is: by its words as a whole, else by its title and clauses.

    Open source licences only count whole, since further conditions are often hung onto them.
    """
    body = normalised(text)
    for licence in known_licences():
        whole = licence_text(licence)
        if whole is not None and normalised(whole) == body:
            return Recognised(licence=licence, exact=True)
    best: tuple[int, int] | None = None
    found: Recognised | None = None
    for licence in known_licences():
        if licence.is_open_source or not _titled(licence, body):
            continue
        quotes = [clause for clause in licence.clauses if clause.quote is not None]
        own = [clause for clause in quotes if clause.section not in _ELSEWHERE]
        missing = tuple(clause.section for clause in own if not _holds(body, clause.quote or ""))
        rank = (-len(missing), len(own))
        if own and len(missing) < len(own) and (best is None or rank > best):
            best, found = rank, Recognised(licence=licence, exact=False, missing=missing)
    return found


def _titled(licence: Licence, body: str) -> bool:
    return any(normalised(title) in body for title in licence.titles)


def _holds(body: str, quote: str) -> bool:
    # Where a quote has a gap, both its sides must be there.
    return all(normalised(part) in body for part in quote.split(" ... "))
