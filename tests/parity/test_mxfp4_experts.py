"""gpt-oss as released: experts in MXFP4, two codes a byte, gates and ups in turn.

Oracle: the same model saved by transformers 5 as floats. Weights are drawn so that MXFP4 holds them
exactly; the packed matrices must then be equal, bit for bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import GptOssConfig

from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.loading import load_model
from tests.parity import family as families
from tests.parity.family import FamilyToy
from tests.parity.toy import Array

pytestmark = pytest.mark.parity

LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
DIMS: dict[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 64,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 512,
    "pad_token_id": None,
}


def coded(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Values (..., in), blocks (..., in / 32, 16) and scales (..., in / 32) of a stack of rows."""
    codes = rng.integers(0, 16, (*shape[:-1], shape[-1] // 32, 32)).astype(np.uint8)
    scales = rng.integers(122, 125, codes.shape[:-1]).astype(np.uint8)
    values = LEVELS[codes] * np.exp2(scales.astype(np.float32) - 127)[..., None]
    blocks = codes[..., ::2] | codes[..., 1::2] << 4
    return values.reshape(shape).astype(np.float32), blocks, scales


def as_blocks(floats: Path, blocks: Path, rng: np.random.Generator) -> None:
    """Rewrites the experts of both directories with the same values. Mutates: the files."""
    plain = load_file(floats / "model.safetensors")
    packed = dict(plain)
    for name in [name for name in plain if name.endswith(("gate_up_proj", "down_proj"))]:
        count, inner, outer = plain[name].shape
        values, packed[f"{name}_blocks"], packed[f"{name}_scales"] = coded(
            (count, outer, inner), rng
        )
        plain[name] = np.ascontiguousarray(values.swapaxes(1, 2))
        del packed[name]
    save_file(plain, floats / "model.safetensors")
    save_file(packed, blocks / "model.safetensors")
    config = json.loads((floats / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": []}
    (blocks / "config.json").write_text(json.dumps(config))


def logits(model: Any, ids: list[int]) -> Array:
    runner, sequence = Runner(model, tokens=256), Sequence()
    return runner.run([Part(sequence, ids, wanted=len(ids))]).copy()


def test_experts_in_blocks_are_those_of_the_float_checkpoint(tmp_path: Path) -> None:
    toy = FamilyToy(name="gpt-oss", config=GptOssConfig(**DIMS))
    floats = families.write_directory(families.family_oracle(toy), tmp_path / "floats")
    blocks = tmp_path / "blocks"
    blocks.mkdir()
    as_blocks(floats, blocks, np.random.default_rng(7))
    plain: Any = load_model(floats).model
    packed: Any = load_model(blocks).model
    for (_, ours), (_, theirs) in zip(packed.layers, plain.layers, strict=True):
        for name in ("gate", "up", "down"):
            assert np.array_equal(getattr(ours, name).unpack(), getattr(theirs, name).unpack())
        assert not np.array_equal(ours.gate.unpack(), ours.up.unpack())
    ids = np.random.default_rng(8).integers(0, 301, 40).tolist()
    expected, found = logits(plain, ids), logits(packed, ids)
    # Activations meet blocks as 8-bit codes; another layout would leave nothing in common.
    assert np.sqrt(np.mean((found - expected) ** 2)) <= 0.05 * np.sqrt(np.mean(expected**2))
