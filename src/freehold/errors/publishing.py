"""Errors of what is handed on after teaching: merged models and exported adapters.

Room: errors. The tree is drawn in the package's own words.
"""

# ruff: noqa: N818 - all of these are errors; the suffix would say nothing at the raise

from __future__ import annotations

from freehold.errors.base import FreeholdError

__all__ = ["AnswersDrift", "BadExport", "ExportError", "RenderingDiffers"]


class ExportError(FreeholdError, code="export"):
    """An adapter's model could not be handed on."""


class BadExport(ExportError, code="export.bad_export"):
    """The form asked for is unknown, or this model or adapter cannot have it."""


class RenderingDiffers(ExportError, code="export.rendering_differs"):
    """Conversations would be served in other tokens than the adapter was trained on."""


class AnswersDrift(ExportError, code="export.answers_drift"):
    """The export answers otherwise than the adapter, by more than is allowed."""
