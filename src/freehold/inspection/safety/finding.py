"""One thing that a person should know before trusting a model.

Room: inspection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity = Literal["danger", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("danger", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """What was found, where, why it matters, and what to do about it."""

    severity: Severity
    code: str
    place: str
    why: str
    advice: str
