"""A toy model on disk, and lessons that it can learn: repeat the word after a marker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from transformers import LlamaConfig, Qwen3Config

from freehold.tune.training.packing import Tokens
from freehold.tune.training.spec import TrainSpec
from freehold.tune.training.train import Lessons
from tests.parity.family import FamilyToy, family_oracle, plain_keys, write_directory

VOCABULARY = 61
PREFIX = [1, 7, 7, 2, 9]


def tiny(kind: type[Any] = LlamaConfig, **changes: Any) -> FamilyToy:
    config = kind(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
        max_position_embeddings=128,
        head_dim=8,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        **changes,
    )
    return FamilyToy(name="tiny", config=config, arch="llama", keys=plain_keys(config))


def tiny_qwen() -> FamilyToy:
    return tiny(Qwen3Config)


def write_tiny(path: Path, toy: FamilyToy | None = None, *, seed: int = 0) -> Any:
    """The toy's oracle, saved in the directory."""
    oracle = family_oracle(toy or tiny(), seed=seed)
    write_directory(oracle, path)
    return oracle


def line(rng: np.random.Generator) -> Tokens:
    """A shared beginning, some words, a marker before one of them, and that word as the answer."""
    words = [int(word) for word in rng.integers(10, 20, int(rng.integers(3, 9)))]
    at = int(rng.integers(0, len(words)))
    ids = [*PREFIX, *words[:at], 5, *words[at:], 3, words[at], 4]
    learned = np.zeros(len(ids), bool)
    learned[-2:] = True
    return Tokens(np.array(ids, np.int32), learned)


def lessons(count: int = 40, heldout: int = 10, *, seed: int = 0) -> Lessons:
    rng = np.random.default_rng(seed)
    made = [(line(rng),) for _ in range(count + heldout)]
    return Lessons(made[:count], made[count:])


def pairs(count: int = 24, heldout: int = 8) -> Lessons:
    """A preferred answer, and the word after it in the alphabet."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count + heldout):
        chosen = line(rng)
        ids = chosen.ids.copy()
        ids[-2] += 20
        made.append((chosen, Tokens(ids, chosen.learned)))
    return Lessons(made[:count], made[count:])


def spec(base: Path, **changes: Any) -> TrainSpec:
    usual: dict[str, Any] = {
        "base": str(base),
        "data": "lines",
        "rank": 4,
        "lr": 5e-3,
        "epochs": 2,
        "batch_examples": 8,
        "row_tokens": 64,
        "checkpoint_every_steps": 3,
        "threads": 1,
    }
    return TrainSpec(**(usual | changes))
