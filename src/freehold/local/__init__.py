"""The in-process face: a model you can ask, from Python, with nothing else running.

Room: local. Joins library, loading, tokenizer, templates and engine; must not know HTTP or
terminals. A name is fetched when it is first used: not all that is done here takes an engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freehold.local.answers import Completion as Completion
    from freehold.local.answers import Stats as Stats
    from freehold.local.answers import Stream as Stream
    from freehold.local.chat import Model as Model
    from freehold.local.embedding import EmbeddingModel as EmbeddingModel
    from freehold.local.opening import load as load
    from freehold.local.opening import load_chat as load_chat

_HOME_OF = {
    "Completion": "answers",
    "EmbeddingModel": "embedding",
    "Model": "chat",
    "Stats": "answers",
    "Stream": "answers",
    "load": "opening",
    "load_chat": "opening",
}

__all__ = ["Completion", "EmbeddingModel", "Model", "Stats", "Stream", "load", "load_chat"]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'freehold.local' has no attribute {name!r}")
    value: object = getattr(import_module(f"freehold.local.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
