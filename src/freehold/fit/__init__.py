"""What a model would take on this machine: memory, speed, a month of its use.

Room: fit. Predicts from shapes and measured rates, runs no model; must not know terminals.
"""

from __future__ import annotations

from freehold.fit.choosing import (
    Fit,
    Question,
    fit_of_file,
    fits_of_model,
    list_fits,
    subject_of,
)
from freehold.fit.cost import Month, Prices, Traffic, month_of
from freehold.fit.measured import Measured, machine_rates

__all__ = [
    "Fit",
    "Measured",
    "Month",
    "Prices",
    "Question",
    "Traffic",
    "fit_of_file",
    "fits_of_model",
    "list_fits",
    "machine_rates",
    "month_of",
    "subject_of",
]
