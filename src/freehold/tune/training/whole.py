"""Full fine-tuning: every value learns, and is saved as a transformers checkpoint.

Room: tune. Must not know families: loading's tables say what tensors are called.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from freehold.errors import BadTraining
from freehold.formats.safetensors_writer import write_safetensors
from freehold.tune.training.base import Base
from freehold.tune.training.network import INPUTS

__all__ = ["learning_parameters", "save_whole"]


def learning_parameters(base: Base) -> dict[str, torch.nn.Parameter]:
    """Every parameter of a network that learns throughout, by name."""
    network = base.network
    found: dict[str, torch.nn.Parameter] = {}
    for name, part in (("embed", network.embed), ("head", network.head)):
        if isinstance(part, torch.nn.Parameter) and all(part is not one for one in found.values()):
            found[name] = part
    vectors = network.vectors.items()
    found |= {name: each for name, each in vectors if isinstance(each, torch.nn.Parameter)}
    for name, projection in network.projections.items():
        if isinstance(projection.matrix, torch.nn.Parameter):
            found[name] = projection.matrix
        if isinstance(projection.bias, torch.nn.Parameter):
            found[f"{name}_bias"] = projection.bias
    return found


def save_whole(base: Base, source: Path, directory: Path) -> None:
    """Writes model.safetensors and the source's other files. Mutates: the directory.

    Raises: BadTraining for a base that is one GGUF file: its text side has no such files.
    """
    if not source.is_dir():
        raise BadTraining(
            "full fine-tuning starts from a directory of safetensors",
            value=str(source),
            expected="config.json and model.safetensors",
            found="a single file",
            hint="train an adapter on this file; `freehold merge` then makes a whole model",
        )
    tensors = {
        base.tensor_names[name]: np.ascontiguousarray(values) for name, values in _slots(base)
    }
    write_safetensors(directory / "model.safetensors", tensors, {"format": "pt"})
    for file in source.iterdir():
        if file.is_file() and not file.name.startswith("model") and file.suffix != ".safetensors":
            shutil.copyfile(file, directory / file.name)


def _slots(base: Base) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Every slot's values as the checkpoint has them."""
    network, plan = base.network, base.plan
    tables = {"embed": network.embed}
    if "head" in plan.found:
        tables["head"] = network.head
    for name, table in tables.items():
        yield name, _values(table)
    for name, vector in network.vectors.items():
        if name in base.tensor_names:
            yield name, _values(vector) - np.float32(plan.sources[name].add)
    for name, projection in network.projections.items():
        layer, kind = name.split(".", 2)[1], name.split(".", 2)[2]
        at = 0
        for part in INPUTS[kind]:
            slot = f"layers.{layer}.{part}"
            end = at + plan.slots[slot].shape[0]
            yield slot, _values(projection.matrix)[at:end]
            if f"{slot}_bias" in plan.found:
                yield f"{slot}_bias", _values(projection.bias)[at:end]
            at = end


def _values(parameter: Any) -> np.ndarray[Any, Any]:
    return np.asarray(parameter.detach().float().cpu().numpy())
