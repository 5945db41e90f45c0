"""A directory's tensors as they would lie in GGUF, for comparing it with such a file.

Room: inspection. Loading's tables say where everything lies; must not know families.
Peak memory: the rows that are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold.formats.block_types import BlockType
from freehold.loading.directory import open_directory
from freehold.loading.gguf_words import architecture_of, decoder_keys, places_of
from freehold.loading.placing import Placed, placed
from freehold.loading.sources import Rows

__all__ = ["LaidModel", "LaidTensor", "laid_as_gguf"]


@dataclass(frozen=True)
class LaidTensor:
    """A tensor under its name in GGUF, its rows in the order that they have there."""

    name: str
    shape: tuple[int, ...]
    type: str
    n_bytes: int
    _placed: Placed
    readable: bool = True

    @property
    def elements(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Values `start` to `start + count`, row after row."""
        columns = self.shape[-1]
        first, last = start // columns, -(-(start + count) // columns)
        values = self._placed.rows(first, last - first).reshape(-1)
        return values[start - first * columns :][:count]

    def release(self, start: int, count: int) -> None:
        """Does nothing: pages are given back as rows are read."""


@dataclass(frozen=True)
class LaidModel:
    """A directory in GGUF's words: the keys of its architecture, and its tensors by name."""

    metadata: dict[str, Any]
    tensors: dict[str, LaidTensor]


@contextmanager
def laid_as_gguf(folder: Path) -> Iterator[LaidModel]:
    """The directory's model; within the block its values can be read.

    Raises: FormatError, LoadError; BadConfig for a family that GGUF's words are not known for.
    """
    with open_directory(folder) as opened:
        architecture = architecture_of(opened)
        keys = decoder_keys(opened, architecture)
        tensors: dict[str, LaidTensor] = {}
        for canonical, place in places_of(opened).items():
            pieces = opened.plan.found[canonical]
            for each in placed(opened.plan, canonical, place):
                n_bytes = sum(piece.n_bytes for piece in pieces) // len(place.names)
                kind = _kind(pieces[0])
                tensors[each.name] = LaidTensor(each.name, each.shape, kind, n_bytes, each)
        said = {f"{architecture}.{key}": _as_there(value) for key, value in keys.items()}
        yield LaidModel(said, tensors)


def _as_there(value: float | str) -> float | str:
    """A value as a file holds it: its floats have 32 bits."""
    return float(np.float32(value)) if isinstance(value, float) else value


def _kind(piece: Rows) -> str:
    known = {int(kind): kind.name for kind in BlockType}
    return known.get(int(piece.block_type), "quantized")
