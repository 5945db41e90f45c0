"""Small adapters for the small models, as directories that PEFT would save, key by key, so that a
test can lie (layout of peft 0.18, whose own directory is read in test_adapters)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.loading.small import Dims

Array = np.ndarray[Any, Any]

PREFIX = "base_model.model.model.layers."


@dataclass
class AdapterFiles:
    """A directory to be: adapter_config.json and the tensors by name."""

    config: dict[str, Any]
    tensors: dict[str, Array] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """The directory; returns its path."""
        path.mkdir(parents=True, exist_ok=True)
        (path / "adapter_config.json").write_text(json.dumps(self.config))
        save_file(self.tensors, path / "adapter_model.safetensors")
        return path

    def name(self, module: str, half: str, layer: int = 0) -> str:
        """A tensor's name."""
        return f"{PREFIX}{layer}.{module}.lora_{half}.weight"


def module_shapes(dims: Dims) -> dict[str, tuple[int, int]]:
    """(out, in) of every matrix of a layer, by its module."""
    query, key = dims.H * dims.A, dims.G * dims.A
    return {
        "self_attn.q_proj": (query, dims.D),
        "self_attn.k_proj": (key, dims.D),
        "self_attn.v_proj": (key, dims.D),
        "self_attn.o_proj": (dims.D, query),
        "mlp.gate_proj": (dims.F, dims.D),
        "mlp.up_proj": (dims.F, dims.D),
        "mlp.down_proj": (dims.D, dims.F),
    }


def small_adapter(dims: Dims | None = None, *, seed: int = 0, rank: int = 4) -> AdapterFiles:
    """A sound adapter of every matrix, strong enough to change what is said."""
    dims = dims or Dims()
    rng = np.random.default_rng(seed)
    files = AdapterFiles({"peft_type": "LORA", "r": rank, "lora_alpha": 8.0})
    for layer in range(dims.L):
        for module, (rows, cols) in module_shapes(dims).items():
            lower = rng.standard_normal((rank, cols)) / np.sqrt(cols)
            upper = 0.3 * rng.standard_normal((rows, rank))
            files.tensors[files.name(module, "A", layer)] = lower.astype(np.float32)
            files.tensors[files.name(module, "B", layer)] = upper.astype(np.float32)
    return files
