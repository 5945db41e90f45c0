"""Lists in OpenAI's form, and times as it writes them.

Room: server. Must not know what is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

__all__ = ["Metadata", "page", "whole"]

# Notes of the asker's own that come back with the object.
Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]


def page(entries: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of `limit` entries; one more than that says that others follow."""
    shown = list(entries[:limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(entries) > limit,
    }


def whole(seconds: float | None) -> int | None:
    """A time in whole seconds, as this interface has it."""
    return None if seconds is None else int(seconds)
