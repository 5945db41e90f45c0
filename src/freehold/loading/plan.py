"""What a model will be made of, settled before any of its weights is read.

Room: loading. Must not know any family or file format.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from freehold.loading.matrices import fill_matrix, read_parameter, room_for
from freehold.loading.sources import Rows, Source
from freehold.models.base import Model, Parameter, Slot
from freehold.ops import Weight

__all__ = ["Origin", "Plan"]


class Origin(NamedTuple):
    """A slot of the model, and where its values lie in a file."""

    slot: Slot
    source: Source


@dataclass(frozen=True)
class Plan:
    """A family's class, its configuration, and the rows of the file behind each of its slots."""

    kind: Any  # the family's Model
    config: Any
    slots: Mapping[str, Slot]
    sources: Mapping[str, Source]
    found: Mapping[str, tuple[Rows, ...]]

    def build(self, hollow: Container[str] = ()) -> tuple[Model, dict[str, Parameter]]:
        """The model and its parameters by canonical name. Raises: UnsupportedType, BadValue.

        Those that are `hollow` have room for their values, which `fill` reads.
        """
        parameters = {
            name: room_for(pieces, self.slots[name])
            if name in hollow
            else read_parameter(pieces, self.slots[name], self.sources[name])
            for name, pieces in self.found.items()
        }
        model: Model = self.kind(self.config, parameters)
        return model, parameters

    def can_be_hollow(self, name: str) -> bool:
        """Whether a parameter is a matrix as the file has it."""
        return self.slots[name].matrix and not self.sources[name].turned

    def fill(self, name: str, weight: Weight) -> None:
        """Reads a hollow matrix's values. Mutates: weight."""
        fill_matrix(weight, self.found[name], self.sources[name])

    def origins(self) -> dict[str, Origin]:
        """Where each parameter lies."""
        return {name: Origin(self.slots[name], self.sources[name]) for name in self.found}
