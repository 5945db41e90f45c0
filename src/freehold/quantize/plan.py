"""What a file is going to hold: each tensor's type, and what its header says.

Room: quantize. Reads no weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from freehold import __version__
from freehold.formats.block_types import BlockType
from freehold.formats.gguf_writer import NewTensor, f32, string, u32
from freehold.quantize.loss import Loss
from freehold.quantize.recipes import Choice, Recipe
from freehold.quantize.source import Source

__all__ = ["Plan", "header", "loss_values", "plan_of"]

_QUANTIZATION_VERSION = 2  # of the blocks' layout; it has been 2 since 2023
_REPLACED = ("general.file_type", "general.quantization_version", "general.quantized_by")
_PREFIXES = ("freehold.", "quantize.imatrix.")
_LOSS = "freehold.loss."


@dataclass(frozen=True)
class Plan:
    """The tensors of a file to be, in order; `choices` has those that are quantized."""

    recipe: str
    file_type: int
    choices: Mapping[str, Choice]
    tensors: tuple[NewTensor, ...]

    @property
    def kinds(self) -> dict[str, BlockType]:
        """The type of each tensor that is quantized."""
        return {name: choice.type for name, choice in self.choices.items()}

    @cached_property
    def weight_bytes(self) -> int:
        """What all tensors take."""
        return sum(tensor.n_bytes for tensor in self.tensors)

    @property
    def substitutes(self) -> dict[tuple[BlockType, BlockType], int]:
        """How many tensors got another type than the recipe's, by (wanted, got)."""
        found: dict[tuple[BlockType, BlockType], int] = {}
        for choice in self.choices.values():
            if choice.substituted:
                key = (choice.wanted, choice.type)
                found[key] = found.get(key, 0) + 1
        return found


def plan_of(source: Source, recipe: Recipe, choices: Mapping[str, Choice]) -> Plan:
    """The file that a recipe's choices make of the source."""
    tensors = tuple(
        NewTensor(name, each.shape, choices[name].type if name in choices else each.type)
        for name, each in source.tensors.items()
    )
    return Plan(recipe.name, recipe.file_type, choices, tensors)


def header(source: Source, plan: Plan, notes: Mapping[str, str | int]) -> dict[str, bytes]:
    """The metadata: the source's own, then how this file came about.

    `notes` become keys `freehold.quantize.*`. The loss is not known yet and stands as NaN.
    """
    kept = {
        key: value
        for key, value in source.raw_metadata.items()
        if key not in _REPLACED and not key.startswith(_PREFIXES)
    }
    made = {
        "general.file_type": u32(plan.file_type),
        "general.quantization_version": u32(_QUANTIZATION_VERSION),
        "general.quantized_by": string("freehold"),
    }
    name = source.metadata.get("general.name")
    if "general.base_model.count" not in kept and isinstance(name, str):
        made["general.base_model.count"] = u32(1)
        made["general.base_model.0.name"] = string(name)
    made["freehold.version"] = string(__version__)
    made["freehold.quantize.recipe"] = string(plan.recipe)
    for key, note in notes.items():
        value = u32(note) if isinstance(note, int) else string(note)
        made[f"freehold.quantize.{key}"] = value
    nothing = Loss(
        mean_kl=math.nan,
        p99_kl=math.nan,
        agreement=math.nan,
        perplexity=math.nan,
        source_perplexity=math.nan,
        tokens=0,
    )
    return kept | made | loss_values(nothing)


def loss_values(loss: Loss) -> dict[str, bytes]:
    """The loss as metadata values, whose length does not depend on it."""
    found = {
        f"{_LOSS}{key}": f32(value) for key, value in loss.as_dict().items() if key != "tokens"
    }
    return found | {f"{_LOSS}tokens": u32(loss.tokens)}
