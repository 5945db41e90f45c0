"""Errors of teaching a model.

Room: errors. The tree is drawn in the package's own words.
"""

# ruff: noqa: N818 - all of these are errors; the suffix would say nothing at the raise

from __future__ import annotations

from freehold.errors.base import FreeholdError

__all__ = ["BadCheckpoint", "BadTraining", "Diverged", "TuneError"]


class TuneError(FreeholdError, code="tune"):
    """A model could not be taught."""


class BadTraining(TuneError, code="tune.bad_training"):
    """What was asked for cannot be trained: a setting, the model, or too little data."""


class BadCheckpoint(TuneError, code="tune.bad_checkpoint"):
    """A training's own files are damaged, or belong to another training."""


class Diverged(TuneError, code="tune.diverged"):
    """The loss is no longer a number; the last good checkpoint is kept."""
