"""From a file to a model: names, shapes, transforms, and a strict account of every tensor.

Room: loading. Knows how weights are read; must not know requests, or whether they may be used.
"""

from __future__ import annotations

from freehold.loading.adapters import load_adapter
from freehold.loading.directory import is_encoder, load_directory, weights_file
from freehold.loading.embedders import load_embedder, read_embedder
from freehold.loading.encoder import (
    PRECISIONS,
    EncoderPlan,
    LoadedEncoder,
    load_encoder_tokenizer,
)
from freehold.loading.generation import Suggested
from freehold.loading.gguf import Loaded, load_gguf
from freehold.loading.judging import JudgePlan, read_judge
from freehold.loading.opening import load_model
from freehold.loading.shapes import ModelShapes, read_shapes
from freehold.loading.text import TextSide, read_text_side

__all__ = [
    "PRECISIONS",
    "EncoderPlan",
    "JudgePlan",
    "Loaded",
    "LoadedEncoder",
    "ModelShapes",
    "Suggested",
    "TextSide",
    "is_encoder",
    "load_adapter",
    "load_directory",
    "load_embedder",
    "load_encoder_tokenizer",
    "load_gguf",
    "load_model",
    "read_embedder",
    "read_judge",
    "read_shapes",
    "read_text_side",
    "weights_file",
]
