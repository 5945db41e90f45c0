"""Which type each tensor of a file gets: the mixes that people know by name.

Room: quantize. Plain data; reads no weights. Source: what llama.cpp's quantizer (at 007dbbf3) does
for the same names, so that a file of a name has the size that people expect of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from freehold.errors import BadRecipe
from freehold.formats.block_types import BlockType

__all__ = [
    "RECIPES",
    "Choice",
    "Facts",
    "Recipe",
    "Shaped",
    "choose",
    "is_quantizable",
    "recipe_named",
    "suit",
]

T = BlockType
# What rows get whose length a type's blocks do not divide.
_SUBSTITUTES = {
    T.Q2_K: T.Q4_0,
    T.Q3_K: T.Q4_0,
    T.Q4_K: T.Q5_0,
    T.Q5_K: T.Q5_1,
    T.Q6_K: T.Q8_0,
}
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
_SMALL = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "position_embd",
    "token_types",
)
_VALUES = ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight")


class Shaped(Protocol):
    """What a recipe looks at of a tensor."""

    @property
    def name(self) -> str:
        """Its name in GGUF."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Row-major, (out, in)."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a recipe looks at of a model."""

    layers: int
    heads: int
    kv_heads: int
    experts: int
    calibrated: bool = False


class Recipe(NamedTuple):
    """A mix by its name: its main type, and the number that `general.file_type` gives it."""

    name: str
    base: BlockType
    file_type: int


class Choice(NamedTuple):
    """The type that a tensor gets, and the one it would have with rows of a suitable length."""

    type: BlockType
    wanted: BlockType

    @property
    def substituted(self) -> bool:
        """Whether the row's length forced another type."""
        return self.type != self.wanted


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("Q8_0", T.Q8_0, 7),
        Recipe("Q6_K", T.Q6_K, 18),
        Recipe("Q5_K_M", T.Q5_K, 17),
        Recipe("Q4_K_M", T.Q4_K, 15),
        Recipe("Q4_K_S", T.Q4_K, 14),
        Recipe("Q4_0", T.Q4_0, 2),
        Recipe("Q3_K_M", T.Q3_K, 12),
        Recipe("Q2_K", T.Q2_K, 10),
        Recipe("MXFP4", T.MXFP4, 38),
    )
}


def recipe_named(name: str) -> Recipe:
    """The recipe of a name, in either case. Raises: BadRecipe."""
    found = RECIPES.get(name.upper())
    if found is None:
        raise BadRecipe(
            "no recipe has this name",
            value=name,
            expected=", ".join(RECIPES),
            found=repr(name)[:80],
        )
    return found


def is_quantizable(tensor: Shaped) -> bool:
    """Whether a tensor is a matrix that loses little in fewer bits; others stay as they are."""
    dims = tensor.shape
    while len(dims) > 1 and dims[0] == 1:
        dims = dims[1:]
    if len(dims) < 2 or not tensor.name.endswith("weight"):
        return False
    return not any(part in tensor.name for part in _SMALL)


def suit(wanted: BlockType, columns: int) -> BlockType:
    """The type itself, or what rows of this length get in its stead."""
    if columns % wanted.block_elements == 0:
        return wanted
    instead = _SUBSTITUTES.get(wanted, T.F16)
    return instead if columns % instead.block_elements == 0 else T.F16


def choose(recipe: Recipe, tensors: Iterable[Shaped], facts: Facts) -> dict[str, Choice]:
    """The type of each tensor that is quantized, by its name."""
    matrices = [tensor for tensor in tensors if is_quantizable(tensor)]
    names = {tensor.name for tensor in matrices}
    values = _indices(name for name in names if name.endswith(_VALUES))
    downs = _indices(name for name in names if ".ffn_down" in name)
    mix = _Mix(recipe, facts, "output.weight" not in names, values, downs)
    chosen = {}
    for tensor in matrices:
        wanted, columns = mix.wanted(tensor), tensor.shape[-1]
        chosen[tensor.name] = Choice(suit(wanted, columns), wanted)
    return chosen


def _indices(names: Iterable[str]) -> dict[int, int]:
    """For each layer that has one of the names, its place among them."""
    layers = {int(match[1]) for name in names if (match := _LAYER.fullmatch(name))}
    return {layer: place for place, layer in enumerate(sorted(layers))}


@dataclass(frozen=True)
class _Mix:
    """A recipe, applied to one model."""

    recipe: Recipe
    facts: Facts
    tied: bool
    values: Mapping[int, int]
    downs: Mapping[int, int]

    def wanted(self, tensor: Shaped) -> BlockType:
        """What the recipe gives the tensor, whatever the length of its rows."""
        base, name = self.recipe.base, self.recipe.name
        match = _LAYER.fullmatch(tensor.name)
        if tensor.name == "output.weight" or (self.tied and tensor.name == "token_embd.weight"):
            return T.Q8_0 if base in (T.Q8_0, T.MXFP4) else T.Q6_K
        if base is T.MXFP4:
            return self._four_bit_floats(tensor)
        if match is None:
            return base
        layer, part = int(match[1]), match[2]
        if part.endswith(_VALUES):
            return self._value(self.values[layer], len(self.values), part)
        if self.facts.experts == 8 and part == "attn_k.weight":
            return T.Q8_0
        if part.startswith("ffn_down"):
            return self._down(self.downs[layer], len(self.downs))
        if part == "attn_output.weight" and self.facts.experts == 8:
            return T.Q5_K if name in ("Q2_K", "Q3_K_M", "Q4_K_S", "Q4_K_M") else base
        if part == "attn_output.weight":
            return {"Q2_K": T.Q3_K, "Q3_K_M": T.Q4_K}.get(name, base)
        return base

    def _four_bit_floats(self, tensor: Shaped) -> BlockType:
        """A mixture's experts; of a model without experts, all of its layers' matrices."""
        if self.facts.experts > 1:
            return T.MXFP4 if "_exps." in tensor.name else T.Q8_0
        return T.MXFP4 if tensor.name.startswith("blk.") else T.Q8_0

    def _value(self, place: int, count: int, part: str) -> BlockType:
        name, facts = self.recipe.name, self.facts
        found = self.recipe.base
        if name == "Q2_K":
            found = T.Q4_K if facts.heads >= 4 * facts.kv_heads else T.Q3_K
        elif name == "Q3_K_M":
            found = T.Q5_K if place < 2 else T.Q4_K
        elif name in ("Q4_K_M", "Q5_K_M") and _gets_more(place, count):
            found = T.Q6_K
        elif (name == "Q4_K_M" and part.startswith("attn_qkv")) or (name == "Q4_K_S" and place < 4):
            found = T.Q5_K
        if facts.layers == 80 and facts.heads > facts.kv_heads and found in (T.Q3_K, T.Q4_K):
            found = T.Q5_K
        return T.Q8_0 if facts.experts == 8 else found

    def _down(self, place: int, count: int) -> BlockType:
        name, base = self.recipe.name, self.recipe.base
        if name == "Q2_K":
            return T.Q3_K
        if name == "Q3_K_M":
            return T.Q5_K if place < count // 16 else T.Q4_K
        if name in ("Q4_K_M", "Q5_K_M") and _gets_more(place, count):
            return T.Q6_K
        if name == "Q4_K_S" and place < count // 8:
            return T.Q5_K
        if name == "Q4_0" and self.facts.calibrated and place < count // 8:
            return T.Q4_1
        return base


def _gets_more(place: int, count: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    first = count // 8
    return place < first or place >= 7 * count // 8 or (place - first) % 3 == 2
