"""What a model will be made of, settled before any of its weights is read.

Room: loading. Must not know any family or file format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from freehold.loading.matrices import can_stay, read_parameter
from freehold.loading.sources import Rows, Source
from freehold.models.base import Model, Parameter, Slot

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

    def build(self, *, in_place: bool = False) -> tuple[Model, dict[str, Parameter]]:
        """The model and its parameters by canonical name. Raises: UnsupportedType, BadValue.

        With `in_place`, matrices of floats stay in the file wherever they can: they take no memory,
        and are repacked whenever they are used. Then the file must not change meanwhile.
        """
        parameters = {
            name: read_parameter(pieces, self.slots[name], self.sources[name], in_place=in_place)
            for name, pieces in self.found.items()
        }
        model: Model = self.kind(self.config, parameters)
        return model, parameters

    def sizes_bytes(self, *, in_place: bool = False) -> Iterator[int]:
        """What each tensor will take of memory. Raises: UnsupportedType."""
        for name, pieces in self.found.items():
            if not (in_place and can_stay(pieces, self.slots[name], self.sources[name])):
                yield from (piece.n_bytes for piece in pieces)

    def origins(self) -> dict[str, Origin]:
        """Where each parameter lies."""
        return {name: Origin(self.slots[name], self.sources[name]) for name in self.found}
