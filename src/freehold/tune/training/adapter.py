"""LoRA matrices beside a network's projections, and as PEFT reads and writes them.

Room: tune. Knows canonical names and rows' order; must not know data or optimizers.
Source: arXiv 2106.09685; LoraConfig and the file layout of peft 0.18.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from freehold.errors import BadTraining, ShapeMismatch
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import open_safetensors
from freehold.formats.safetensors_writer import write_safetensors
from freehold.loading.adapter_config import peft_scaling
from freehold.tune.training.base import Base
from freehold.tune.training.functions import LowRank
from freehold.tune.training.network import INPUTS

__all__ = ["TARGETS", "LoraShape", "add_adapter", "load_peft", "peft_tensors", "save_peft"]

# What people write -> the parts of a layer; the names of PEFT's configuration beside ours.
TARGETS: Mapping[str, str] = {
    "q_proj": "attn.q",
    "k_proj": "attn.k",
    "v_proj": "attn.v",
    "o_proj": "attn.out",
    "gate_proj": "mlp.gate",
    "up_proj": "mlp.up",
    "down_proj": "mlp.down",
}


@dataclass(frozen=True)
class LoraShape:
    """Which matrices of every layer an adapter changes, and how."""

    rank: int
    alpha: float
    targets: tuple[str, ...]  # keys of TARGETS
    dropout: float = 0.0
    rooted: bool = False

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rooted else self.rank)


@dataclass(frozen=True)
class _Part:
    """One target's rows of a projection's stacked matrices."""

    canonical: str
    lower: slice
    upper: slice


def add_adapter(base: Base, shape: LoraShape, *, seed: int) -> dict[str, torch.nn.Parameter]:
    """Gives every target A, drawn as PEFT draws it, and B = 0; returns the parameters by name.

    Mutates: base.network. Raises: BadTraining for a target that no layer has.
    """
    generator = torch.Generator().manual_seed(seed)
    unknown = [name for name in shape.targets if name not in TARGETS]
    if unknown or not shape.targets:
        raise BadTraining(
            "an adapter cannot be on this",
            value=unknown[0] if unknown else "",
            expected="some of " + ", ".join(TARGETS),
            found=", ".join(unknown) or "nothing",
        )
    wanted = {TARGETS[name] for name in shape.targets}
    device = base.network.device
    parameters: dict[str, torch.nn.Parameter] = {}
    for name, projection in base.network.projections.items():
        runs = [run for part, *run in _stack(base, name) if part.split(".", 2)[2] in wanted]
        if not runs:
            continue
        columns = base.plan.slots[_stack(base, name)[0][0]].shape[-1]
        bound = 1.0 / math.sqrt(columns)  # kaiming_uniform with a = sqrt(5), PEFT's default
        lower = torch.empty(shape.rank * len(runs), columns)
        lower.uniform_(-bound, bound, generator=generator)
        upper = torch.zeros(sum(end - start for start, end in runs), shape.rank)
        low = LowRank(
            torch.nn.Parameter(lower.to(device)),
            torch.nn.Parameter(upper.to(device)),
            tuple((start, end) for start, end in runs),
            shape.scale,
        )
        projection.low, projection.dropout = low, shape.dropout
        parameters[f"{name}.lower"] = low.lower
        parameters[f"{name}.upper"] = low.upper
    return parameters


def _stack(base: Base, projection: str) -> list[tuple[str, int, int]]:
    """The matrices of a projection: canonical name, first row, row after the last."""
    layer, kind = projection.split(".", 2)[1], projection.split(".", 2)[2]
    found, at = [], 0
    for part in INPUTS[kind]:
        name = f"layers.{layer}.{part}"
        rows = base.plan.slots[name].shape[0]
        found.append((name, at, at + rows))
        at += rows
    return found


def _parts(base: Base) -> Iterable[tuple[LowRank, _Part]]:
    for name, projection in base.network.projections.items():
        low = projection.low
        if low is None:
            continue
        by_run = {(start, end): part for part, start, end in _stack(base, name)}
        for rows, above, below in low.runs():
            yield low, _Part(by_run[rows.start, rows.stop], below, above)


def peft_tensors(base: Base) -> dict[str, np.ndarray[Any, Any]]:
    """The adapter under PEFT's names, rows in the order of transformers' checkpoint."""
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for low, part in _parts(base):
        lower, upper = _names(base, part.canonical)
        tensors[lower] = low.lower.detach()[part.lower].float().cpu().numpy().copy()
        tensors[upper] = low.upper.detach()[part.upper].float().cpu().numpy().copy()
    return tensors


def _names(base: Base, canonical: str) -> tuple[str, str]:
    module = "base_model.model." + base.hub_names[canonical].removesuffix(".weight")
    return f"{module}.lora_A.weight", f"{module}.lora_B.weight"


def save_peft(base: Base, shape: LoraShape, directory: Path, *, base_name: str) -> None:
    """Writes adapter_config.json and adapter_model.safetensors. Mutates: the directory."""
    write_safetensors(directory / "adapter_model.safetensors", peft_tensors(base), {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": shape.rank,
        "lora_alpha": shape.alpha,
        "lora_dropout": shape.dropout,
        "use_rslora": shape.rooted,
        "target_modules": sorted(shape.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
    }
    text = json.dumps(config, indent=2) + "\n"
    (directory / "adapter_config.json").write_text(text, encoding="utf-8")


def load_peft(base: Base, directory: Path) -> None:
    """Puts an adapter's values into the one that the network has. Mutates: base.network.

    Raises: FormatError, BadConfig; BadTraining when the two differ in targets, rank or scale.
    """
    scaling = peft_scaling(read_json_object(directory / "adapter_config.json"))
    with open_safetensors(directory / "adapter_model.safetensors") as file:
        left = set(file.tensors)
        for low, part in _parts(base):
            names = _names(base, part.canonical)
            module = base.hub_names[part.canonical].removesuffix(".weight")
            if any(name not in file.tensors for name in names):
                raise _differs(part.canonical, names)
            try:
                scale = scaling.of(module, low.upper.shape[1])
            except ShapeMismatch as error:
                raise _differs(part.canonical, names) from error
            if scale != low.scale:
                raise _differs(part.canonical, names)
            for name, values, rows in zip(
                names, (low.lower, low.upper), (part.lower, part.upper), strict=True
            ):
                _copy(file.tensors[name], values.data[rows], name)
                left.discard(name)
    if left:
        raise _differs(min(left), sorted(left))


def _copy(tensor: Any, into: torch.Tensor, name: str) -> None:
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    if tensor.dtype.name not in kinds or tuple(tensor.shape) != tuple(into.shape):
        raise _differs(name, [name])
    raw = torch.from_numpy(np.array(tensor.data()))
    into.copy_(raw.view(kinds[tensor.dtype.name]).reshape(into.shape))


def _differs(where: str, names: Sequence[str]) -> BadTraining:
    return BadTraining(
        "the adapter to go on from is not of the shape that was asked for",
        value=where[:200],
        expected="the same targets, rank and alpha",
        found=", ".join(names)[:200],
        hint="give the rank, alpha and targets that it was trained with",
    )
