"""Formats of strings as expressions, and schemas that say them so.

Room: chat. Knows JSON Schema's formats and where schemas hold schemas; must not know dialects.

llguidance has its own expressions for formats. Some let through what a validator refuses: a local
part of 200 characters in an email, a second numbered 60 in any minute. Here they are replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["FORMATS", "enforceable", "mapped"]

Schema = Mapping[str, Any]

_LEAP_YEAR = (
    r"([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"  # 1900 is none
)
_DATE = (
    r"([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    rf"|02-(0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_ZONE = r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_TIME = rf"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,9}})?{_ZONE}"
_BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
# Two hyphens in the third and fourth place announce an encoding that a random label does not have.
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9]|-[a-zA-Z0-9]){0,30}"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,3}}"
_WORD = r"[a-zA-Z0-9_+%-]"

# What is surely of the format, and of what people write all but the strange.
FORMATS: Final[Mapping[str, str]] = {
    "date": _DATE,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": (
        r"P([0-9]{1,6}W|(([0-9]{1,6}Y)?([0-9]{1,6}M)?[0-9]{1,6}D|([0-9]{1,6}Y)?[0-9]{1,6}M"
        r"|[0-9]{1,6}Y)(T[0-9]{1,6}[HMS])?|T([0-9]{1,6}H([0-9]{1,6}M([0-9]{1,6}S)?)?"
        r"|[0-9]{1,6}M([0-9]{1,6}S)?|[0-9]{1,6}S))"
    ),
    "email": rf"{_WORD}{{1,20}}(\.{_WORD}{{1,12}}){{0,3}}@{_LABEL}(\.{_LABEL}){{1,3}}",
    "hostname": _HOST,
    "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
    "ipv6": (
        r"([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){7}|::([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,5})?"
        r"|[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,2}::[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,2})"
    ),
    "time": _TIME,
    "uri": (
        rf"[a-z]([a-z0-9+.-]){{0,9}}://{_HOST}(:[1-9][0-9]{{0,3}})?"
        r"(/[a-zA-Z0-9._~-]{0,64}){0,16}(\?[a-zA-Z0-9._~=&-]{0,256})?(#[a-zA-Z0-9._~-]{0,64})?"
    ),
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}

_BY_NAME = ("$defs", "definitions", "patternProperties", "properties")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = ("additionalProperties", "items")


def mapped(schema: Schema, change: Callable[[Any, str], Any]) -> dict[str, Any]:
    """A schema whose inner schemas are what `change` makes of each and its path from here."""
    done: dict[str, Any] = {}
    for key, value in schema.items():
        done[key] = value
        if key in _BY_NAME and isinstance(value, Mapping):
            done[key] = {name: change(part, f"/{key}/{name}") for name, part in value.items()}
        elif key in _LISTS and isinstance(value, list | tuple):
            done[key] = [change(part, f"/{key}/{i}") for i, part in enumerate(value)]
        elif key in _SINGLE:
            done[key] = change(value, f"/{key}")
    return done


def enforceable(schema: Any, _at: str = "") -> Any:
    """The schema with its formats as patterns."""
    if not isinstance(schema, Mapping):
        return schema
    done = mapped(schema, enforceable)
    expression = FORMATS.get(done.get("format", ""))
    if expression is not None:
        del done["format"]
        pattern = f"^({expression})$"
        if "pattern" not in done:
            done["pattern"] = pattern
        else:
            done["allOf"] = [*done.get("allOf", ()), {"pattern": pattern}]
    return done
