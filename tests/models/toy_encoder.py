"""Toy encoders with random weights: transformers' own BertModel and RobertaModel in float32
(transformers 5.23, torch 2.13), saved as sentence-transformers lays a model out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

Array = np.ndarray[Any, Any]

WORDS = [f"w{i}" for i in range(60)] + ["##s", "##ing", "the", "[", "]", "cls"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [*SPECIAL, *WORDS]


@dataclass(frozen=True, kw_only=True)
class ToyEncoder:
    """Dimensions, one-letter as in the glossary of ARCHITECTURE."""

    name: str
    kind: str = "bert"
    L: int = 2
    D: int = 64
    H: int = 4
    F: int = 160
    positions: int = 66
    types: int = 2
    act: str = "gelu"
    eps: float = 1e-12
    pooling: str = "pooling_mode_mean_tokens"
    normalise: bool = True
    more: dict[str, Any] = field(default_factory=dict)

    def oracle(self, seed: int = 0) -> Any:
        """The model with weights that make attention choose and every layer matter."""
        made, config = {
            "bert": (BertModel, BertConfig),
            "roberta": (RobertaModel, RobertaConfig),
        }[self.kind]
        model = made(
            config(
                vocab_size=len(VOCABULARY),
                hidden_size=self.D,
                num_hidden_layers=self.L,
                num_attention_heads=self.H,
                intermediate_size=self.F,
                max_position_embeddings=self.positions,
                type_vocab_size=self.types,
                hidden_act=self.act,
                layer_norm_eps=self.eps,
                pad_token_id=1 if self.kind == "roberta" else 0,
            )
        )
        rng = np.random.default_rng(seed)
        for name, values in model.named_parameters():
            shape = tuple(values.shape)
            if name.endswith("LayerNorm.weight"):
                drawn = 1 + 0.2 * rng.standard_normal(shape)
            elif name.endswith("bias"):
                drawn = 0.3 * rng.standard_normal(shape)
            elif "embeddings" in name:
                drawn = rng.standard_normal(shape)
            else:
                drawn = 1.5 * rng.standard_normal(shape) / np.sqrt(shape[1])
            with torch.no_grad():
                values.copy_(torch.from_numpy(np.asarray(drawn, np.float32)))
        return model.to(torch.float32).eval()


TOYS = (
    ToyEncoder(name="default"),
    ToyEncoder(name="four layers, wide MLP", L=4, D=96, H=3, F=416),
    ToyEncoder(name="heads of 8", D=64, H=8),
    ToyEncoder(name="heads of 96", D=192, H=2, L=1),
    ToyEncoder(name="tanh gelu", act="gelu_new", eps=1e-5),
    ToyEncoder(name="relu", act="relu"),
    ToyEncoder(name="one type", types=1),
    ToyEncoder(name="roberta", kind="roberta", types=1),
    ToyEncoder(name="cls", pooling="pooling_mode_cls_token"),
    ToyEncoder(name="max, not normalised", pooling="pooling_mode_max_tokens", normalise=False),
    ToyEncoder(name="last", pooling="pooling_mode_lasttoken"),
    ToyEncoder(name="root", pooling="pooling_mode_mean_sqrt_len_tokens", normalise=False),
)


def save(toy: ToyEncoder, model: Any, folder: Path) -> Path:
    """The directory that sentence-transformers would leave; returns it."""
    model.save_pretrained(folder)
    steps = ["Transformer", "Pooling", *(["Normalize"] if toy.normalise else [])]
    places = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": places[i],
            "type": f"sentence_transformers.models.{step}",
        }
        for i, step in enumerate(steps)
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 60, "do_lower_case": False})
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": toy.D, "pooling_mode_mean_tokens": False}
    write_json(folder / "1_Pooling" / "config.json", pooling | {toy.pooling: True})
    word_piece().save(str(folder / "tokenizer.json"))
    return folder


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def word_piece() -> tokenizers.Tokenizer:
    """A small tokenizer of BERT's kind, with the cutting and padding that such files carry."""
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    library = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.add_special_tokens(SPECIAL)
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    library.enable_truncation(8)
    library.enable_padding(length=8)
    return library


def pooled(toy: ToyEncoder, model: Any, ids: list[int]) -> Array:
    """What sentence-transformers computes of one text, (D,) float32."""
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)))
    rows: Array = hidden.last_hidden_state[0].numpy()
    row: Array = {
        "pooling_mode_mean_tokens": lambda: rows.mean(axis=0),
        "pooling_mode_cls_token": lambda: rows[0],
        "pooling_mode_lasttoken": lambda: rows[-1],
        "pooling_mode_max_tokens": lambda: rows.max(axis=0),
        "pooling_mode_mean_sqrt_len_tokens": lambda: rows.sum(axis=0) / np.sqrt(len(rows)),
    }[toy.pooling]()
    return row / np.linalg.norm(row) if toy.normalise else row
