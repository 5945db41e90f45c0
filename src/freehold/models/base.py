"""The contract between a family and the engine.

Room: models. Must not know any family by name, nor a file, a request or a lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from freehold.ops import KvPool, LayerKv, Packed, Step, Tensor, Weight

__all__ = [
    "Encoder",
    "KvSpec",
    "Model",
    "Parameter",
    "Shape",
    "Slot",
    "matrix",
    "row",
    "row_or_none",
]


@dataclass(frozen=True)
class KvSpec:
    """What a model keeps of a sequence: for each token the keys and values of every layer.

    `states` are the cells of its recurrent layers, in floats: kept once, whatever the length.
    """

    layers: tuple[LayerKv, ...]
    states: tuple[int, ...] = ()

    @classmethod
    def alike(cls, layers: int, heads: int, width: int) -> KvSpec:
        """Layers with the same heads, whose keys and values are equally wide."""
        return cls((LayerKv(heads, width, width),) * layers)


Shape = tuple[int, ...]
Parameter = Weight | Tensor


@dataclass(frozen=True)
class Slot:
    """A place for one tensor of a checkpoint, under our canonical name.

    `matrix` slots hold a Weight that keeps the file's block type, or rounds its floats where the
    loader was asked to; the others are float32, one row or a table of rows to look up.
    """

    shape: Shape
    matrix: bool = True
    optional: bool = False


class Model(Protocol):
    """A network that maps the tokens of a step to logits."""

    @classmethod
    def slots(cls, config: object) -> Mapping[str, Slot]:
        """Every tensor the family takes, by canonical name."""

    @property
    def vocabulary(self) -> int:
        """V, the number of rows of the head."""

    @property
    def context_tokens(self) -> int:
        """How many tokens the model was trained to see."""

    def kv_spec(self) -> KvSpec:
        """What the engine must keep for each token."""

    def forward(self, step: Step, kv: KvPool, *, whole: bool = False) -> Tensor:
        """Logits (S, V) of the step's logit rows; valid until the next call.

        What changes neither logits nor `kv` may be left out, unless the step is to go through the
        `whole` network, for somebody who watches. Mutates: kv, by the step's keys and values.
        """


class Encoder(Protocol):
    """A network that maps whole texts to a vector for each of their tokens."""

    @classmethod
    def slots(cls, config: object) -> Mapping[str, Slot]:
        """Every tensor the family takes, by canonical name."""

    @property
    def width(self) -> int:
        """D, the length of a vector."""

    @property
    def vocabulary(self) -> int:
        """V, how many tokens there are."""

    @property
    def context_tokens(self) -> int:
        """How many tokens a text may have."""

    def pack(self, texts: Sequence[Sequence[int]]) -> Packed:
        """Texts of token ids, one after another."""

    def forward(self, packed: Packed) -> Tensor:
        """A vector for each token, (T, D); valid until the next call."""


def matrix(parameter: Parameter) -> Weight:
    """The parameter of a matrix slot."""
    assert isinstance(parameter, Weight), "loading put a row where a matrix belongs"
    return parameter


def row_or_none(parameters: Mapping[str, Parameter], name: str) -> Tensor | None:
    """The parameter of an optional slot that is no matrix."""
    found = parameters.get(name)
    return None if found is None else row(found)


def row(parameter: Parameter) -> Tensor:
    """The parameter of a slot that is no matrix."""
    assert isinstance(parameter, Tensor), "loading put a matrix where a row belongs"
    return parameter
