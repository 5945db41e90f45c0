"""How open a model is, by two published yardsticks, from what is published besides its weights.

Room: library. Works on lists of words; must not know models or files.

Source: https://opensource.org/ai/open-source-ai-definition (1.0), https://arxiv.org/abs/2403.13784
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freehold.library.terms.licences import Licence

__all__ = ["COMPONENTS", "DATA_INFORMATION", "Openness", "openness_of"]

Level = Literal["closed", "open-weight", "open-source"]

_CLASS_3 = (
    "architecture",
    "weights",
    "technical-report",
    "evaluation-results",
    "model-card",
    "data-card",
)
_CLASS_2 = (
    "training-code",
    "inference-code",
    "evaluation-code",
    "evaluation-data",
    "libraries",
)
_CLASS_1 = (
    "research-paper",
    "datasets",
    "preprocessing-code",
    "intermediate-checkpoints",
    "model-metadata",
)
COMPONENTS = (*_CLASS_3, *_CLASS_2, *_CLASS_1, "sample-outputs")
"""The 17 components of the Model Openness Framework; the last one is optional."""

DATA_INFORMATION = "data-information"
"""A description of the training data that lets a skilled person build a like system."""

# What the definition calls the preferred form for making modifications.
_CODE = ("preprocessing-code", "training-code", "inference-code")


@dataclass(frozen=True, kw_only=True)
class Openness:
    """What a model's publication amounts to, and what it lacks for more.

    `framework_class`: 3 is an open model, 2 has open tooling, 1 is open science; None is less.
    `missing` lacks for the next class. `evidence` says why the definition is met or not.
    """

    level: Level
    framework_class: int | None
    missing: tuple[str, ...]
    evidence: tuple[str, ...]
    known: bool


def openness_of(published: tuple[str, ...] | None, licences: tuple[Licence, ...]) -> Openness:
    """The openness of a model under these licences; `published` None where nobody looked."""
    free = bool(licences) and all(licence.is_open_source for licence in licences)
    names = ", ".join(licence.name for licence in licences) or "an unknown licence"
    have = set(published if published is not None else ("weights",))
    if "weights" not in have:
        return Openness(
            level="closed",
            framework_class=None,
            missing=_lacking(have, _CLASS_3),
            evidence=("no weights are published",),
            known=published is not None,
        )
    evidence = [f"weights under {names}: " + ("open source" if free else "not open source")]
    informed = DATA_INFORMATION in have or "datasets" in have
    if published is None:
        evidence.append("what else is published was not looked up")
    else:
        evidence.append("data information: " + ("published" if informed else "not published"))
        evidence += [
            f"{part}: {'published' if part in have else 'not published'}" for part in _CODE
        ]
    whole = free and informed and all(part in have for part in _CODE)
    reached, missing = _framework(have, free=free)
    return Openness(
        level="open-source" if whole else "open-weight",
        framework_class=reached,
        missing=missing,
        evidence=tuple(evidence),
        known=published is not None,
    )


def _framework(have: set[str], *, free: bool) -> tuple[int | None, tuple[str, ...]]:
    reached: int | None = None
    for number, parts in ((3, _CLASS_3), (2, _CLASS_2), (1, _CLASS_1)):
        missing = _lacking(have, parts)
        if number == 3 and not free:
            missing = ("an open licence of the weights", *missing)
        if missing:
            return reached, missing
        reached = number
    return reached, ()


def _lacking(have: set[str], parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in parts if part not in have)
