"""Errors of measuring models: tasks, their data, and the isolation of code that models wrote.

Room: errors. The tree is drawn in the package's own words.
"""

# ruff: noqa: N818 - all of these are errors; the suffix would say nothing at the raise

from __future__ import annotations

from freehold.errors.base import FreeholdError

__all__ = [
    "BadTask",
    "EvalError",
    "MissingData",
    "NoIsolation",
    "NotComparable",
    "NotProven",
    "TargetFailed",
]


class EvalError(FreeholdError, code="eval"):
    """A model could not be measured."""


class BadTask(EvalError, code="eval.bad_task"):
    """A task, one of its items, or the way its answers are to be judged is unusable."""


class MissingData(EvalError, code="eval.missing_data"):
    """A task's data set is not on this machine."""


class NoIsolation(EvalError, code="eval.no_isolation"):
    """This machine cannot shut code that a model wrote in as tightly as was promised."""


class NotComparable(EvalError, code="eval.not_comparable"):
    """Two results are not of the same items, or not measured alike."""


class TargetFailed(EvalError, code="eval.target_failed"):
    """The server that was to answer did not, or cannot do what the task needs."""


class NotProven(EvalError, code="eval.not_proven"):
    """Nothing on record shows that the model may take another's place."""
