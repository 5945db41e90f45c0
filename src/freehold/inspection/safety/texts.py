"""Texts of a file that say more than they should: addresses, code, hidden characters, blobs.

Room: inspection. Must not know which format a text is from.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from freehold.inspection.safety.finding import Finding

__all__ = ["hidden_characters", "scan_metadata", "scan_text"]

_MAX_SHOWN = 80
_LONG = 1 << 20
_URL = re.compile(r"https?://([\w.-]{1,253})", re.IGNORECASE)
_BLOB = re.compile(r"[A-Za-z0-9+/]{240,}={0,2}")
# Words of programs that have no place in a description. Each is rare in honest prose.
_CODE = re.compile(
    r"\b(?:os\.system|subprocess\.|__import__|exec\s*\(|eval\s*\(|importlib\.|pickle\.loads|"
    r"base64\.b64decode|powershell|cmd\.exe|/bin/(?:ba)?sh)|<script\b|javascript:|"
    r"curl\s+[^|]{0,200}\|\s*(?:ba)?sh",
    re.IGNORECASE,
)
# Where makers name the pages that a model comes from.
_ADDRESS_KEYS = re.compile(
    r"(?:^|\.)(?:\w*url\w*|license\w*|doi|\w*repo\w*|link|source\w*)(?:\.|$)"
)
_LARGE_KEYS = re.compile(r"chat_template|tokenizer\.huggingface\.json|(^|\.)imatrix")
_ORDINARY = frozenset("\n\t\r")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\u200e\u200f")


def hidden_characters(text: str) -> dict[str, int]:
    """Characters that nobody sees or that reorder what is seen, by name, and how often."""
    found: dict[str, int] = {}
    if text.isascii() and text.isprintable():
        return found
    for character in text:
        if character in _ORDINARY or character.isprintable():
            continue
        category = unicodedata.category(character)
        if category in ("Cc", "Cf", "Co", "Cs"):
            name = f"U+{ord(character):04X}"
            found[name] = found.get(name, 0) + 1
    return found


def scan_metadata(metadata: Mapping[str, object]) -> Iterator[Finding]:
    """Every text of the metadata but vocabularies, which have rules of their own."""
    for key, value in metadata.items():
        yield from scan_text(key, f"the name of metadata key {key[:_MAX_SHOWN]!r}", key="")
        if isinstance(value, str):
            yield from scan_text(value, f"metadata {key[:_MAX_SHOWN]}", key=key)
        elif isinstance(value, Mapping):
            yield from scan_metadata({f"{key}.{inner}": v for inner, v in value.items()})
        elif isinstance(value, list | tuple) and not key.startswith("tokenizer.ggml."):
            for item in value[:1000]:
                if isinstance(item, str):
                    yield from scan_text(item, f"metadata {key[:_MAX_SHOWN]}", key=key)


def scan_text(text: str, place: str, *, key: str) -> Iterator[Finding]:
    """One text; `key` says where it stands, which decides what is usual there."""
    yield from _hidden(text, place)
    if key == "" or _LARGE_KEYS.search(key):
        return
    if len(text) > _LONG:
        yield Finding(
            "warning",
            "text.length",
            place,
            f"it is {len(text):,} characters long, which no honest entry of its kind is",
            "look at it before you use the file: large texts are a way to carry other things",
        )
    if (code := _CODE.search(text)) is not None:
        yield Finding(
            "danger",
            "text.code",
            place,
            f"it holds what reads like a program: {code[0][:_MAX_SHOWN]!r}",
            "Freehold never runs metadata; other programs may. Do not use the file with them",
        )
    if _BLOB.search(text) is not None:
        yield Finding(
            "warning",
            "text.blob",
            place,
            "it holds a long run of base64, which carries bytes that nobody can read",
            "decode it and look, or take the model from its maker again",
        )
    hosts = sorted({match[1].lower() for match in _URL.finditer(text)})
    if hosts:
        usual = _ADDRESS_KEYS.search(key) is not None
        yield Finding(
            "note" if usual else "warning",
            "text.address",
            place,
            f"it names {'an address' if len(hosts) == 1 else 'addresses'}: " + ", ".join(hosts[:5]),
            "nothing here fetches it" if usual else "ask why it stands here; nothing fetches it",
        )


def _hidden(text: str, place: str) -> Iterator[Finding]:
    found = hidden_characters(text)
    if not found:
        return
    reorders = any(chr(int(name[2:], 16)) in _BIDI for name in found)
    tags = any(0xE0000 <= int(name[2:], 16) <= 0xE007F for name in found)
    drives = "U+001B" in found
    shown = ", ".join(f"{name} ({count})" for name, count in list(found.items())[:6])
    why = "characters that nobody sees"
    if reorders:
        why = "characters that make text read in another order than it stands"
    elif tags:
        why = "tag characters, which spell words that only a machine reads"
    elif drives:
        why = "an escape character, which drives terminals"
    serious = reorders or tags or drives
    yield Finding(
        "danger" if serious else "warning",
        "text.hidden",
        place,
        f"it has {why}: {shown}",
        "read it in a viewer that shows them, as this report does",
    )
