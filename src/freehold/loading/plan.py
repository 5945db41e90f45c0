"""What a model will be made of, settled before any of its weights is read.

Room: loading. Must not know any family or file format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from freehold.loading.matrices import read_parameter
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

    def build(self) -> tuple[Model, dict[str, Parameter]]:
        """The model and its parameters by canonical name. Raises: UnsupportedType, BadValue."""
        parameters = {
            name: read_parameter(pieces, self.slots[name], self.sources[name])
            for name, pieces in self.found.items()
        }
        model: Model = self.kind(self.config, parameters)
        return model, parameters

    def origins(self) -> dict[str, Origin]:
        """Where each parameter lies."""
        return {name: Origin(self.slots[name], self.sources[name]) for name in self.found}
