"""Tool dialects: how models write calls, and which of them a chat template was made for.

Room: chat. Knows what stands in templates; must not know tokenizers, requests or families.
"""

from __future__ import annotations

from freehold.chat.dialects.base import Dialect
from freehold.chat.dialects.hermes import Hermes
from freehold.chat.dialects.plain import Plain

__all__ = ["DIALECTS", "Dialect", "dialect_of"]

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (Hermes(), Plain())}


def dialect_of(template_source: str | None) -> Dialect:
    """The dialect that a chat template teaches; `plain` where it teaches none that is known."""
    source = template_source or ""
    if "tools" in source and "<tool_call>" in source:
        return DIALECTS["hermes"]
    return DIALECTS["plain"]
