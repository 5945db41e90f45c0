"""Tools, the choice among them and the form of an answer, as every dialect sees them.

Room: chat. Plain data; must not know any surface or family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["ResponseFormat", "Tool", "ToolChoice"]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function the model may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    strict: bool = False

    def for_template(self) -> dict[str, Any]:
        """The form chat templates expect."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class ToolChoice:
    """Whether to call: "auto", "none", "required", or "named" with the one name."""

    kind: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResponseFormat:
    """What the answer's text must be.

    "json_object": any JSON object; "json_schema": by `schema`; "regex", "lark" and "choice" (one of
    several texts) by `source`.
    """

    kind: Literal["json_object", "json_schema", "regex", "lark", "choice"]
    schema: Mapping[str, Any] | bool | None = None
    source: str | tuple[str, ...] = ""
