"""Freehold: run open-weight language models on the machine you own.

The public face. Importing it loads nothing heavy: no NumPy, no compiled core, no torch. A name is
fetched from its room the first time it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freehold.engine.sampler import Sampling as Sampling
    from freehold.errors import FreeholdError as FreeholdError
    from freehold.local import Completion as Completion
    from freehold.local import EmbeddingModel as EmbeddingModel
    from freehold.local import Model as Model
    from freehold.local import Stream as Stream
    from freehold.local import load as load

__version__ = "0.1.0"

_HOME_OF = {
    "Completion": "freehold.local",
    "EmbeddingModel": "freehold.local",
    "FreeholdError": "freehold.errors",
    "Model": "freehold.local",
    "Sampling": "freehold.engine.sampler",
    "Stream": "freehold.local",
    "load": "freehold.local",
}

__all__ = [
    "Completion",
    "EmbeddingModel",
    "FreeholdError",
    "Model",
    "Sampling",
    "Stream",
    "__version__",
    "load",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'freehold' has no attribute {name!r}")
    value: object = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
