"""Adapters over a model's matrices: low-rank additions, each sequence its own.

Room: models. Must not know a file, a request or any family by name. A is (r, D), B is (N, r): an
adapted matrix W (N, D) acts as W + scale B A, for the sequences of a step that use the adapter.
Source: arXiv 2106.09685; the way many adapters share a batch, arXiv 2310.18547 and 2311.03285.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freehold.ops import Deltas, Thin

__all__ = ["BITS", "Adaptable", "Adapter", "LowRank", "Place", "adapter_targets", "pack_adapter"]

BITS = (8, 16)  # what a value of an adapter's matrices may be kept in


@dataclass(frozen=True)
class LowRank:
    """What an adapter adds to one matrix (N, D): scale B A."""

    lower: NDArray[np.float32]  # A (r, D)
    upper: NDArray[np.float32]  # B (N, r)
    scale: float


@dataclass(frozen=True)
class Place:
    """Matrices of a layer that share an input, by their canonical names within it."""

    deltas: Deltas
    names: tuple[str, ...]


class Adaptable(ABC):
    """A block whose matrices adapters may add to."""

    @abstractmethod
    def places(self) -> Sequence[Place]:
        """Where they may, in the order in which a step comes to them."""


@dataclass(frozen=True)
class _Entry:
    deltas: Deltas
    lower: Thin
    uppers: tuple[Thin | None, ...]
    scales: tuple[float, ...]


@dataclass(frozen=True)
class Adapter:
    """An adapter packed for one model; not part of it until it is attached.

    Attaching and detaching must not happen while a step runs.
    """

    entries: tuple[_Entry, ...]
    bytes: int

    def attach(self, index: int) -> None:
        """From now on, sequences with this index use the adapter. Mutates: the model."""
        lowers: list[Thin | None] = [entry.lower for entry in self.entries]
        for entry, next_lower in zip(self.entries, [*lowers[1:], None], strict=True):
            entry.deltas.put(index, entry.lower, entry.uppers, entry.scales, next_lower)

    def detach(self, index: int) -> None:
        """Takes the adapter of this index away. Mutates: the model."""
        for entry in self.entries:
            entry.deltas.drop(index)


def pack_adapter(
    layers: Sequence[Sequence[object]], parts: Mapping[str, LowRank], bits: int
) -> Adapter:
    """Packs what an adapter adds, by canonical name, for the blocks of each layer.

    Peak memory: the packed matrices, beside `parts`.
    """
    entries: list[_Entry] = []
    for at, place in _places(layers):
        found = [parts.get(at + name) for name in place.names]
        chosen = [part for part in found if part is not None]
        if not chosen:
            continue
        lower = Thin(np.concatenate([part.lower for part in chosen]), bits)
        uppers = [None if part is None else Thin(part.upper, bits) for part in found]
        scales = [0.0 if part is None else part.scale for part in found]
        entries.append(_Entry(place.deltas, lower, tuple(uppers), tuple(scales)))
    size = sum(
        entry.lower.bytes + sum(upper.bytes for upper in entry.uppers if upper is not None)
        for entry in entries
    )
    return Adapter(tuple(entries), size)


def adapter_targets(layers: Sequence[Sequence[object]]) -> tuple[str, ...]:
    """The canonical names of the matrices that adapters may add to."""
    return tuple(at + name for at, place in _places(layers) for name in place.names)


def _places(layers: Sequence[Sequence[object]]) -> list[tuple[str, Place]]:
    return [
        (f"layers.{index}.", place)
        for index, blocks in enumerate(layers)
        for block in blocks
        if isinstance(block, Adaptable)
        for place in block.places()
    ]
