"""A served model as a network that can be trained: frozen, in blocks, or learning throughout.

Room: tune. Must not know families by name: models' registry says which are made of plain blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import torch

from freehold.errors import BadTraining
from freehold.loading.plan import Plan
from freehold.models.registry import DECODERS, FAMILIES, PLAIN_LAYERS
from freehold.tune.training.functions import Matrix
from freehold.tune.training.network import INPUTS, Network, Projection
from freehold.tune.training.weights import Blocks, Floats, open_plan, read_blocks, read_floats

__all__ = ["Base", "Keep", "open_base"]

Keep = Literal["frozen", "blocks", "learning"]


@dataclass
class Base:
    """A network, the plan it was read by, and what transformers calls its tensors."""

    network: Network
    architecture: str
    plan: Plan
    tensor_names: dict[str, str]  # canonical -> tensor of a transformers checkpoint

    @property
    def hub_names(self) -> dict[str, str]:
        """Of the matrices of layers, which adapters add to."""
        return {
            name: found
            for name, found in self.tensor_names.items()
            if self.plan.slots[name].matrix and name.startswith("layers.")
        }


def open_base(
    path: Path,
    *,
    keep: Keep = "frozen",
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    progress: Callable[[str, int, int], None] = lambda _phase, _done, _total: None,
) -> Base:
    """Reads a GGUF file or a directory; `keep` "blocks" leaves matrices as the file has them.

    Raises: FormatError, LoadError; BadTraining for a family that is not trained yet.
    Peak memory: what is kept, and one matrix in float32.
    """
    like = torch.zeros(0, dtype=dtype, device=device or torch.device("cpu"))
    with open_plan(path) as (plan, architecture):
        gate = _gate(plan, architecture)
        reader = _Reader(plan, like, keep)
        network = reader.network(gate, progress)
        return Base(network, architecture, plan, _tensor_names(plan, architecture))


def _gate(plan: Plan, architecture: str) -> str:
    """The gate of the family's MLPs. Raises: BadTraining."""
    family = plan.kind.__module__.rpartition(".")[2]
    gate = PLAIN_LAYERS.get(family)
    if gate is None or plan.config.moe is not None:
        what = "mixtures of experts are" if gate is not None else "this family is"
        raise BadTraining(
            f"{what} not trained here yet",
            value=architecture,
            expected=", ".join(sorted(PLAIN_LAYERS)) + ", without experts",
            found=architecture,
            hint="serve it as it is, or train its smaller sibling",
        )
    return gate


def _tensor_names(plan: Plan, architecture: str) -> dict[str, str]:
    """Where transformers keeps each slot that the file fills."""
    family = FAMILIES.get(architecture) or DECODERS[architecture]
    table = import_module(f"freehold.loading.names.{family}").HUB
    names = {}
    for canonical, source in table.sources(plan.found, plan.config).items():
        assert len(source.names) == 1, "plain slots are one tensor each"
        assert source.order is None, "transformers' order of rows is ours"
        names[canonical] = source.names[0]
    return names


@dataclass
class _Reader:
    """Turns a plan's slots into a network's parts."""

    plan: Plan
    like: torch.Tensor
    keep: Keep

    def network(self, gate: str, progress: Callable[[str, int, int], None]) -> Network:
        plan, config = self.plan, self.plan.config
        embed = self._table("embed")
        head: Matrix | torch.nn.Parameter
        if "head" in plan.found:
            head = self._matrix(("head",))
        else:
            tied = isinstance(embed, torch.nn.Parameter | Blocks)
            head = embed if tied else Floats(embed)
        projections = {}
        for layer in range(config.layers):
            progress("load", layer, config.layers)
            for name, parts in INPUTS.items():
                at = f"layers.{layer}."
                projections[at + name] = self._projection(tuple(at + part for part in parts))
        progress("load", config.layers, config.layers)
        vectors = {
            name: self._vector(name)
            for name in plan.found
            if not plan.slots[name].matrix and not name.endswith("_bias")
        }
        return Network(config, gate, embed, head, vectors, projections, self.like.dtype)

    def _projection(self, names: tuple[str, ...]) -> Projection:
        biases = [self.plan.found.get(f"{name}_bias") for name in names]
        bias = None
        if any(found is not None for found in biases):
            parts = [
                torch.zeros(self.plan.slots[name].shape[0])
                if found is None
                else torch.from_numpy(read_floats(self.plan, f"{name}_bias"))
                for name, found in zip(names, biases, strict=True)
            ]
            whole = torch.cat(parts)
            learns = self.keep == "learning"
            kept = whole.to(self.like.device) if learns else whole.to(self.like)
            bias = torch.nn.Parameter(kept) if learns else kept
        return Projection(self._matrix(names), bias)

    def _matrix(self, names: tuple[str, ...]) -> Matrix | torch.nn.Parameter:
        if self.keep == "blocks":
            return read_blocks(self.plan, names, self.like)
        parts = [self._floats(name) for name in names]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return torch.nn.Parameter(whole) if self.keep == "learning" else Floats(whole)

    def _table(self, name: str) -> torch.Tensor | Blocks:
        if self.keep == "blocks":
            return read_blocks(self.plan, (name,), self.like)
        values = self._floats(name)
        return torch.nn.Parameter(values) if self.keep == "learning" else values

    def _floats(self, name: str) -> torch.Tensor:
        """In the type that is computed in; what learns is float32."""
        values = torch.from_numpy(read_floats(self.plan, name))
        dtype = torch.float32 if self.keep == "learning" else self.like.dtype
        return values.to(self.like.device, dtype)

    def _vector(self, name: str) -> torch.Tensor:
        values = torch.from_numpy(read_floats(self.plan, name)).to(self.like.device)
        learns = self.keep == "learning" and name != "rope_divisors"
        return torch.nn.Parameter(values) if learns else values
