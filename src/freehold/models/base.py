"""The contract between a family and the engine.

Room: models. Must not know any family by name, nor a file, a request or a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from freehold.ops import KvPool, Step, Tensor, Weight

__all__ = ["KvSpec", "Model", "Parameter", "Shape", "Slot"]


@dataclass(frozen=True)
class KvSpec:
    """What a model keeps for each token: keys and values of every layer."""

    layers: int
    kv_heads: int
    head_width: int


Shape = tuple[int, ...]
Parameter = Weight | Tensor


@dataclass(frozen=True)
class Slot:
    """A place for one tensor of a checkpoint, under our canonical name.

    `matrix` slots hold a Weight that keeps the file's block type; the others are float32 rows.
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

    def forward(self, step: Step, kv: KvPool) -> Tensor:
        """Logits (S, V) of the step's logit rows; valid until the next call.

        Mutates: kv, by the step's keys and values.
        """
