"""Open models worth knowing before any of their weights are here.

Room: library. A versioned file of data and the types it is read into; must not know this machine.
"""

from __future__ import annotations

from freehold.library.known.matrices import (
    Matrix,
    count_parameters,
    is_recurrent,
    is_windowed,
    matrices,
)
from freehold.library.known.model import Experts, KnownModel, Latent, Recurrent, Shape
from freehold.library.known.reading import known_model, known_models, known_version

__all__ = [
    "Experts",
    "KnownModel",
    "Latent",
    "Matrix",
    "Recurrent",
    "Shape",
    "count_parameters",
    "is_recurrent",
    "is_windowed",
    "known_model",
    "known_models",
    "known_version",
    "matrices",
]
