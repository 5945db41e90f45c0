"""A small mixture of experts as a GGUF file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.loading.small import Dims, small

EXPERTS, WIDTH = 4, 64


def mixture(path: Path) -> Path:
    """A toy whose MLPs are four experts, of which a token gets two."""
    dims = Dims(L=2, D=64, H=4, G=2, A=16, F=96, V=300, kind="BF16", context_tokens=512)
    file, rng = small(dims), np.random.default_rng(3)
    file.keys |= {
        "llama.expert_count": EXPERTS,
        "llama.expert_used_count": 2,
        "llama.feed_forward_length": WIDTH,
    }
    for layer in range(dims.L):
        for part in ("gate", "up", "down"):
            del file.tensors[f"blk.{layer}.ffn_{part}.weight"]
        shapes = {
            "gate_inp": (EXPERTS, dims.D),
            "gate_exps": (EXPERTS, WIDTH, dims.D),
            "up_exps": (EXPERTS, WIDTH, dims.D),
            "down_exps": (EXPERTS, dims.D, WIDTH),
        }
        for part, shape in shapes.items():
            values = (0.1 * rng.standard_normal(shape)).astype(np.float32)
            file.tensors[f"blk.{layer}.ffn_{part}.weight"] = ("F32", shape, values.tobytes())
    return file.write(path)
