"""Where a model's values lie in a file: names, order of rows, what to add.

Room: loading. The words in which a family's tables are written; must not know any family.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from freehold.models.base import Shape, Slot

__all__ = ["Family", "Rows", "Source", "Table", "is_past"]

_NUMBERED = re.compile(r"(?:model\.layers|blk)\.(\d+)\.")


@dataclass(frozen=True)
class Source:
    """The file's tensors behind one slot, stacked row by row.

    `shape` is what each of them must have, where that is not the slot's divided among them.
    `order` names for each row of ours the row of the stack: a permutation, or a part. `add` is
    added to every value: norms that are kept as 1 + w. `transposed` says that floats lie as
    (X, in, out); what is quantized never does. `turned` says how many matrices the ordered rows
    are that lie the other way round. `instead` is where the slot lies in files that have that name.
    """

    names: tuple[str, ...]
    shape: Shape | None = None
    order: NDArray[np.int64] | None = None
    add: float = 0.0
    transposed: bool = False
    turned: int = 0
    instead: Source | None = None

    def piece_shape(self, slot: Slot) -> Shape:
        """What each named tensor's shape must be."""
        if self.shape is not None:
            return self.shape
        return (slot.shape[0] // len(self.names), *slot.shape[1:])


class Rows(Protocol):
    """A tensor of a file as rows of blocks that the core takes."""

    @property
    def name(self) -> str:
        """The tensor's name in the file."""

    @property
    def shape(self) -> Shape:
        """(..., in): all dims but the last are rows."""

    @property
    def n_bytes(self) -> int:
        """How much memory its rows take as `block_type`."""

    @property
    def block_type(self) -> int:
        """The core's number of the type that `raw` gives."""

    @property
    def is_view(self) -> bool:
        """Whether `raw` gives the file's own bytes, which take no memory of ours."""

    def raw(self, start: int, count: int) -> NDArray[np.uint8]:
        """Blocks of `count` rows from `start`, (count, bytes of a row)."""

    def release(self, start: int, count: int) -> None:
        """Gives the file's pages of these rows back; they can be read again."""


@dataclass(frozen=True)
class Table:
    """A family in one format: its configuration, the source of each slot, and what may be left.

    A source is None where the format never holds the slot. `unused` says which tensors a
    checkpoint may hold that no slot takes; `tied` whether the head is the embedding where a
    directory's config.json does not say.
    """

    read_config: Callable[[Mapping[str, object]], Any]
    source: Callable[[str, Any], Source | None]
    unused: Callable[[str, Any], bool] | None = None
    tied: bool = False

    def sources(
        self, slots: Iterable[str], config: object, names: Container[str] = ()
    ) -> dict[str, Source]:
        """The source of each slot that the format holds, by canonical name.

        `names` are the file's tensors, which decide between two places of a slot.
        """
        found = {canonical: self.source(canonical, config) for canonical in slots}
        return {
            canonical: source.instead
            if source.instead is not None and source.instead.names[0] in names
            else source
            for canonical, source in found.items()
            if source is not None
        }

    def may_leave(self, name: str, config: object) -> bool:
        """Whether a checkpoint may hold this tensor although no slot takes it."""
        return self.unused is not None and self.unused(name, config)


def is_past(name: str, layers: int) -> bool:
    """Whether a checkpoint's tensor belongs to a layer after the last: heads that guess ahead."""
    match = _NUMBERED.match(name)
    return match is not None and int(match[1]) >= layers


class Family(Protocol):
    """What `loading/names/<family>.py` gives; a format that the family lacks has no table."""

    Model: Any
    GGUF: Table | None
    HUB: Table | None
