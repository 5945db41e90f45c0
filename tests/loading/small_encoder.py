"""A small encoder's directory, written without any library of encoders, so that a test can lie."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.formats.safetensors_build import content, entry

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(20))]
LAYER = {
    "attention.self.query": (32, 32),
    "attention.self.key": (32, 32),
    "attention.self.value": (32, 32),
    "attention.output.dense": (32, 32),
    "attention.output.LayerNorm": (32,),
    "intermediate.dense": (64, 32),
    "output.dense": (32, 64),
    "output.LayerNorm": (32,),
}


def _tensors() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), 32),
        "embeddings.position_embeddings.weight": (16, 32),
        "embeddings.token_type_embeddings.weight": (2, 32),
        "embeddings.LayerNorm.weight": (32,),
        "embeddings.LayerNorm.bias": (32,),
    }
    for name, shape in LAYER.items():
        shapes |= {
            f"encoder.layer.0.{name}.weight": shape,
            f"encoder.layer.0.{name}.bias": shape[:1],
        }
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@dataclass
class SmallEncoder:
    """Its parts as Python values; a test changes some and writes it."""

    tensors: dict[str, Any] = field(default_factory=_tensors)
    config: dict[str, Any] = field(
        default_factory=lambda: {
            "model_type": "bert",
            "vocab_size": len(WORDS),
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 16,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
        }
    )
    pooling: dict[str, Any] = field(
        default_factory=lambda: {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    )
    modules: Any = field(
        default_factory=lambda: [
            _module(0, "", "Transformer"),
            _module(1, "1_Pooling", "Pooling"),
            _module(2, "2_Normalize", "Normalize"),
        ]
    )
    files: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """The directory; returns it. `files` adds to the JSON files or replaces them."""
        (folder / "1_Pooling").mkdir(parents=True)
        written = {
            "config.json": self.config,
            "modules.json": self.modules,
            "1_Pooling/config.json": self.pooling,
            "tokenizer.json": tokenizer_json(),
        }
        for name, value in (written | self.files).items():
            if value is not None:
                text = value if isinstance(value, str) else json.dumps(value)
                (folder / name).write_text(text)
        (folder / "model.safetensors").write_bytes(_safetensors(self.tensors))
        return folder


def _module(index: int, path: str, kind: str) -> dict[str, Any]:
    kind = f"sentence_transformers.models.{kind}"
    return {"idx": index, "name": str(index), "path": path, "type": kind}


def _safetensors(tensors: dict[str, Any]) -> bytes:
    header, data = {}, b""
    for name, values in tensors.items():
        kind = {"f4": "F32", "f2": "F16", "u2": "BF16", "i8": "I64"}[values.dtype.str[1:]]
        header[name] = entry(kind, list(values.shape), len(data), len(data) + values.nbytes)
        data += values.tobytes()
    return content(header, data)


def tokenizer_json() -> dict[str, Any]:
    """A word-level tokenizer with marks, and with the cutting and padding that such files carry."""
    ids = {word: i for i, word in enumerate(WORDS)}
    marks = {
        mark: {"id": mark, "ids": [ids[mark]], "tokens": [mark]} for mark in ("[CLS]", "[SEP]")
    }
    shape = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    special = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    return {
        "version": "1.0",
        "truncation": {
            "max_length": 4,
            "strategy": "LongestFirst",
            "stride": 0,
            "direction": "Right",
        },
        "padding": {
            "strategy": {"Fixed": 8},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [{"id": ids[mark], "content": mark, **special} for mark in WORDS[:5]],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": shape,
            "pair": shape,
            "special_tokens": marks,
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"},
    }
