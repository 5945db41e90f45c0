"""Decoders that embed, against transformers at toy size: random weights, pooled vectors compared.

Oracle: Qwen3Model and LlamaModel of transformers 5.23 on torch 2.13, float32, one text at a time,
saved headless as sentence-transformers saves them. Float weights are multiplied in float32; keys
and values are kept in float16 (2^-11 of their size): seen 3e-4 and 4e-4 of the vectors' rms,
bound 2e-3.
A wrong position, mask, norm or token pooled differs by its own size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaModel, Qwen3Config, Qwen3Model

import freehold
from freehold.engine.embedding import Embedder
from freehold.errors import BadSetting, MissingTensor
from freehold.loading import is_encoder, load_embedder, load_model
from tests.models.toy_encoder import Array, write_json

pytestmark = pytest.mark.parity

BOUND = 2e-3
V = 300
LENGTHS = (1, 5, 64, 65, 130, 700, 3)
DIMS: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "max_position_embeddings": 1024,
    "head_dim": 16,
}
KINDS = {
    "qwen3, last token": (Qwen3Model, Qwen3Config, "lasttoken", True),
    "llama, mean": (LlamaModel, LlamaConfig, "mean_tokens", False),
}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.split(",")[0])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    made, config, pooling, normalise = KINDS[request.param]
    model = made(config(**DIMS)).to(torch.float32).eval()
    rng = np.random.default_rng(3)
    for values in model.parameters():
        drawn = rng.standard_normal(tuple(values.shape)).astype(np.float32)
        scale = 0.3 if values.ndim == 1 else 1.5 / np.sqrt(values.shape[-1])
        with torch.no_grad():
            values.copy_(torch.from_numpy(drawn * scale + (values.ndim == 1)))
    folder = tmp_path_factory.mktemp("toy") / "model"
    save(model, folder, pooling=pooling, normalise=normalise)
    return Toy(model, folder, pooling, normalise)


class Toy:
    def __init__(self, model: Any, folder: Path, pooling: str, normalise: bool) -> None:
        self.model, self.folder = model, folder
        self.pooling, self.normalise = pooling, normalise

    def vector(self, ids: list[int]) -> Array:
        with torch.inference_mode():
            rows: Array = self.model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
        row: Array = rows[-1] if self.pooling == "lasttoken" else rows.mean(axis=0)
        return row / np.linalg.norm(row) if self.normalise else row

    def embedder(self, **settings: Any) -> Embedder:
        loaded = load_embedder(self.folder)
        sentence = loaded.plan.sentence
        assert sentence.prompts == {"query": "Find: "}
        return Embedder(
            loaded.encoder, pooling=sentence.pooling, normalise=sentence.normalise, **settings
        )


def save(model: Any, folder: Path, *, pooling: str, normalise: bool) -> None:
    model.save_pretrained(folder)
    steps = ["Transformer", "Pooling", *(["Normalize"] if normalise else [])]
    kind = "sentence_transformers.models."
    places = ["", "1_Pooling", "2_Normalize"]
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": places[i], "type": kind + step}
            for i, step in enumerate(steps)
        ],
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "Find: "}, "default_prompt_name": None},
    )
    (folder / "1_Pooling").mkdir()
    chosen = {"word_embedding_dimension": 64, f"pooling_mode_{pooling}": True}
    write_json(folder / "1_Pooling" / "config.json", chosen)
    byte_level().save(str(folder / "tokenizer.json"))


def byte_level() -> tokenizers.Tokenizer:
    """A tokenizer of bytes with an end mark after each text, as decoders that embed have."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    library = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.add_special_tokens(["<|end|>"])
    library.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", 256)]
    )
    return library


def test_vectors_match_transformers_in_any_company(toy: Toy) -> None:
    rng = np.random.default_rng(1)
    texts = [rng.integers(0, V, n).tolist() for n in LENGTHS]
    together = toy.embedder().embed(texts)
    wanted = np.array([toy.vector(text) for text in texts])
    error = np.sqrt(np.mean((together - wanted) ** 2)) / np.sqrt(np.mean(wanted**2))
    assert error <= BOUND
    small = toy.embedder(step_tokens=100)
    assert np.array_equal(small.embed(texts[::-1])[::-1], together)


def test_a_text_is_read_with_its_end_mark_and_embedded(toy: Toy) -> None:
    assert is_encoder(toy.folder)
    model = freehold.load(toy.folder)
    assert isinstance(model, freehold.EmbeddingModel)
    vector = model.embed(["Grüße"])[0]
    ids = [*model.tokenizer.encode("Grüße")]
    assert ids[-1] == 256
    wanted = toy.vector(ids)
    assert float(vector @ wanted / np.linalg.norm(vector) / np.linalg.norm(wanted)) > 0.9999


def test_precision_is_not_for_decoders(toy: Toy) -> None:
    with pytest.raises(BadSetting, match="keeps its file's own numbers"):
        load_embedder(toy.folder, precision="int16")


def test_without_the_pooling_files_it_is_no_embedder_and_lacks_its_head(
    toy: Toy, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((toy.folder / name).read_bytes())
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is False
    assert not is_encoder(tmp_path)
    with pytest.raises(MissingTensor, match="head"):
        load_model(tmp_path)
