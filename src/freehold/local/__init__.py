"""The in-process face: a model you can ask, from Python, with nothing else running.

Room: local. Joins library, loading, tokenizer, templates and engine; must not know HTTP or
terminals.
"""

from __future__ import annotations

from freehold.local.answers import Completion, Stats, Stream
from freehold.local.chat import Model
from freehold.local.embedding import EmbeddingModel
from freehold.local.opening import load, load_chat

__all__ = ["Completion", "EmbeddingModel", "Model", "Stats", "Stream", "load", "load_chat"]
