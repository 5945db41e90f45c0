"""Adapters of toy models: random A and B, as PEFT saves them, as a GGUF file, and merged into the
oracle (layouts of peft 0.18 and of llama.cpp's converter; gguf 0.19).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file

from tests.parity.family import FamilyToy
from tests.parity.toy import Array

ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """An adapter: (A, B) of each module by its name in the model, and how they are scaled."""

    pairs: Mapping[str, tuple[Array, Array]]
    alpha: float = 12.0
    rooted: bool = False
    alphas: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)

    def scale(self, module: str) -> float:
        """What B A is multiplied by."""
        rank = len(self.pairs[module][0])
        known = [a for name, a in self.alphas.items() if module.endswith(name)]
        return (known or [self.alpha])[0] / (math.sqrt(rank) if self.rooted else rank)

    @property
    def rank(self) -> int:
        """The rank of the modules without one of their own."""
        own = tuple(self.ranks)
        return next(len(a) for name, (a, _) in self.pairs.items() if not name.endswith(own or "?"))


def draw(
    model: Any, seed: int, *, rank: int = 6, modules: tuple[str, ...] = ATTENTION + MLP
) -> dict[str, tuple[Array, Array]]:
    """A and B for the modules of every layer: strong enough that each one's loss would show."""
    rng = np.random.default_rng(seed)
    pairs = {}
    for name, weight in model.named_parameters():
        module = name.removesuffix(".weight")
        if not module.endswith(modules):
            continue
        rows, cols = weight.shape
        lower = rng.standard_normal((rank, cols)) / math.sqrt(cols)
        upper = rng.standard_normal((rows, rank)) / 8
        pairs[module] = (lower.astype(np.float32), upper.astype(np.float32))
    return pairs


def halved(values: Array) -> Array:
    """Values that float16 holds."""
    return np.asarray(values.astype(np.float16).astype(np.float32))


def merge(model: Any, lora: Lora, sign: float = 1.0) -> None:
    """Adds scale B A to the oracle's weights, or takes it away again."""
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for module, (lower, upper) in lora.pairs.items():
            change = torch.from_numpy(upper.astype(np.float64) @ lower.astype(np.float64))
            weight = weights[module + ".weight"]
            weight.copy_((weight.double() + sign * lora.scale(module) * change).float())


def write_peft(lora: Lora, path: Path, **changes: Any) -> Path:
    """The directory that PEFT would save; `changes` to its configuration. Returns the directory."""
    path.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for module, (lower, upper) in lora.pairs.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = lower
        tensors[f"base_model.model.{module}.lora_B.weight"] = upper
    save_file(tensors, path / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "somewhere/else",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": lora.rooted,
        "rank_pattern": dict(lora.ranks),
        "alpha_pattern": dict(lora.alphas),
        "target_modules": sorted({module.rsplit(".", 1)[1] for module in lora.pairs}),
        "bias": "none",
        "fan_in_fan_out": False,
        "use_dora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
    } | changes
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


def write_gguf_lora(
    lora: Lora, toy: FamilyToy, path: Path, *, kind: type = np.float32, **metadata: str
) -> Path:
    """The same as llama.cpp's converter writes it, with one alpha; returns the path."""
    writer = gguf.GGUFWriter(path, toy.arch)
    writer.add_type(metadata.get("general_type", "adapter"))
    writer.add_string("adapter.type", metadata.get("adapter_type", "lora"))
    writer.add_float32("adapter.lora.alpha", lora.alpha)
    arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == toy.arch)
    names = gguf.get_tensor_name_map(arch, 8)
    for module, (lower, upper) in lora.pairs.items():
        name = names.get_name(module + ".weight", try_suffixes=(".weight",))
        (changed,) = toy.change(module + ".weight", upper).values()
        writer.add_tensor(f"{name}.lora_a", lower.astype(kind))
        writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(changed.astype(kind)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
