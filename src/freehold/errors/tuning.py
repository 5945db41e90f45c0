"""Errors of teaching a model.

Room: errors. The tree is drawn in the package's own words.
"""

# ruff: noqa: N818 - all of these are errors; the suffix would say nothing at the raise

from __future__ import annotations

from freehold.errors.base import FreeholdError

__all__ = ["BadCheckpoint", "BadDataset", "BadTraining", "Diverged", "NotAdmitted", "TuneError"]


class TuneError(FreeholdError, code="tune"):
    """A model could not be taught."""


class BadTraining(TuneError, code="tune.bad_training"):
    """What was asked for cannot be trained: a setting, the model, or too little data."""


class BadDataset(TuneError, code="tune.bad_dataset"):
    """A line of a data set, or the whole of it, is not what can be learned from."""

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        value: object = None,
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> None:
        text = message if line is None else f"line {line}: {message}"
        super().__init__(text, value=value, expected=expected, found=found, hint=hint)
        self.line = line


class NotAdmitted(TuneError, code="tune.not_admitted"):
    """Nothing recorded allows training on this data, or what allowed it was withdrawn."""


class BadCheckpoint(TuneError, code="tune.bad_checkpoint"):
    """A training's own files are damaged, or belong to another training."""


class Diverged(TuneError, code="tune.diverged"):
    """The loss is no longer a number; the last good checkpoint is kept."""
