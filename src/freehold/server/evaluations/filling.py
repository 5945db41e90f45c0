"""Texts with `{{item.name}}` and `{{sample.output_text}}` in them, filled from a row.

Room: server. Names and values only: nothing in a text is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.errors import BadRequest

__all__ = ["check_names", "filled", "looked_up"]

_PLACE = re.compile(r"\{\{\s*(.{0,200}?)\s*\}\}", re.DOTALL)
_NAME = re.compile(r"(item|sample)((?:\.\w+|\[\d{1,6}\])*)")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_MOST_CHARS = 1 << 20


def check_names(text: str, param: str) -> None:
    """Whether every name in a text could be filled. Raises: BadRequest."""
    for match in _PLACE.finditer(text):
        if _NAME.fullmatch(match[1]) is None:
            raise BadRequest(
                "a text names something that is neither the item's nor the sample's",
                param=param,
                expected="{{item.name}} or {{sample.output_text}}",
            )


def filled(text: str, values: Mapping[str, Any]) -> str:
    """The text with each name's value; what is no text is written as JSON. Raises: BadRequest."""

    def value(match: re.Match[str]) -> str:
        found = looked_up(match[1], values)
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    done = _PLACE.sub(value, text)
    if len(done) > _MOST_CHARS:
        raise BadRequest("a text is too long once it is filled", expected=f"{_MOST_CHARS} at most")
    return done


def looked_up(name: str, values: Mapping[str, Any]) -> Any:
    """What a name stands for. Raises: BadRequest, with the name and never a value."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise BadRequest("no such name", value=name[:100], expected="item.name or sample.name")
    found: Any = values.get(match[1])
    for step in _STEP.finditer(match[2]):
        key, index = step[1], step[2]
        if key is not None and isinstance(found, Mapping) and key in found:
            found = found[key]
        elif (
            index is not None
            and isinstance(found, Sequence)
            and not isinstance(found, str)
            and int(index) < len(found)
        ):
            found = found[int(index)]
        else:
            raise BadRequest("the row has no such field", value=name[:100])
    return found
