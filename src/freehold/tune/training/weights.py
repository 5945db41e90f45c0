"""The served file's tensors as torch sees them: floats, or blocks that become floats on use.

Room: tune. Reads through loading's plan, so that what is trained is what is served, value by value;
must not know families or file formats.
Peak memory: one matrix in float32 besides what is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import BadValue
from freehold.formats.gguf import open_gguf
from freehold.loading.directory import open_directory
from freehold.loading.gguf import plan_gguf
from freehold.loading.plan import Plan
from freehold.loading.sources import Rows

__all__ = ["Blocks", "Floats", "open_plan", "read_blocks", "read_floats"]

_CHUNK_BYTES = 16 << 20


@contextmanager
def open_plan(path: Path) -> Iterator[tuple[Plan, str]]:
    """What a file's or a directory's model is made of, and its architecture's name there.

    Raises: FormatError, LoadError.
    """
    if path.is_dir():
        with open_directory(path) as opened:
            yield opened.plan, opened.model_type
        return
    with open_gguf(path) as file:
        yield plan_gguf(file), file.architecture


def read_floats(plan: Plan, canonical: str) -> NDArray[np.float32]:
    """A slot's values, rows in our order. Raises: BadValue for numbers that are not finite."""
    slot, source = plan.slots[canonical], plan.sources[canonical]
    values = np.concatenate([_unpacked(piece) for piece in plan.found[canonical]])
    if source.order is not None:
        flat = not slot.matrix and len(source.order) != len(values)
        values = values.reshape(-1)[source.order] if flat else values[source.order]
    if source.turned:
        parts = values.reshape(source.turned, -1, values.shape[1])
        values = np.ascontiguousarray(parts.swapaxes(1, 2))
    if source.add:
        values = values + np.float32(source.add)
    if not np.isfinite(values).all():
        raise BadValue(
            f"{canonical} holds numbers that are not finite",
            field=canonical,
            expected="finite numbers",
            hint="the file is damaged",
        )
    return np.ascontiguousarray(values.reshape(slot.shape), np.float32)


def _unpacked(piece: Rows) -> NDArray[np.float32]:
    """(rows, columns) of one tensor of the file."""
    columns = piece.shape[-1]
    count = int(np.prod(piece.shape[:-1], dtype=np.int64))
    out = np.empty((count, columns), np.float32)
    step = max(1, _CHUNK_BYTES // (4 * columns))
    for start in range(0, count, step):
        some = min(step, count - start)
        out[start : start + some] = _values(piece.block_type, piece.raw(start, some), columns)
        piece.release(start, some)
    return out


def _values(block_type: int, raw: NDArray[np.uint8], columns: int) -> NDArray[np.float32]:
    flat = np.ascontiguousarray(raw).reshape(-1)
    return ops.dequantize(block_type, flat, len(raw) * columns).reshape(len(raw), columns)


class Floats:
    """A matrix that stays as it is, in memory as floats."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def floats(self) -> torch.Tensor:
        """(N, D)."""
        return self.values


@dataclass(frozen=True)
class Blocks:
    """Matrices stacked row by row that stay in their file's blocks; floats live for one product."""

    pieces: Sequence[tuple[int, NDArray[np.uint8]]]  # block type, (rows, bytes of a row)
    columns: int
    like: torch.Tensor  # whose type and device the floats have

    @property
    def n_bytes(self) -> int:
        """What is kept."""
        return sum(raw.nbytes for _, raw in self.pieces)

    def floats(self) -> torch.Tensor:
        """(N, D), made anew."""
        parts = [
            torch.from_numpy(_values(block_type, raw, self.columns))
            for block_type, raw in self.pieces
        ]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return whole.to(self.like.device, self.like.dtype)

    def rows(self, ids: NDArray[np.int64]) -> torch.Tensor:
        """(len(ids), D), of a table that is one piece."""
        ((block_type, raw),) = self.pieces
        values = torch.from_numpy(_values(block_type, raw[ids], self.columns))
        return values.to(self.like.device, self.like.dtype)


def read_blocks(plan: Plan, names: Sequence[str], like: torch.Tensor) -> Blocks:
    """Slots, stacked, in their blocks; each is one tensor whose rows are whole blocks."""
    pieces: list[tuple[int, NDArray[np.uint8]]] = []
    for name in names:
        source = plan.sources[name]
        assert not source.turned, "matrices lie as they are multiplied"
        assert not source.add, "only norms are kept as what they add"
        found = plan.found[name]
        raw = np.concatenate(
            [piece.raw(0, int(np.prod(piece.shape[:-1], dtype=np.int64))) for piece in found]
        )
        kept = raw if source.order is None else raw[source.order]
        pieces.append((found[0].block_type, np.ascontiguousarray(kept)))
    return Blocks(pieces, plan.slots[names[0]].shape[-1], like)
