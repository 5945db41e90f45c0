"""Writes safetensors files that are larger than memory: header first, then rows in any order.

Room: formats. Knows bytes and offsets; must not know what a tensor is for.
Source: the safetensors README; the index as transformers writes it.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.errors import DiskFull

__all__ = ["FloatKind", "NewFloats", "SafetensorsFolder", "as_floats"]

FloatKind = Literal["F32", "F16", "BF16"]

_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_ALIGNMENT = 64
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NewFloats(NamedTuple):
    """A tensor to be written. Shapes: row-major."""

    name: str
    shape: tuple[int, ...]
    kind: FloatKind

    @property
    def n_bytes(self) -> int:
        """How many bytes its data take."""
        return prod(self.shape) * _BYTES[self.kind]


class SafetensorsFolder:
    """model.safetensors in a folder, or as many as are needed to stay below a size, with an index.

    Use it in a `with`, in a folder of its own: what is not whole is removed with that folder.
    Raises: DiskFull, OSError.
    """

    def __init__(
        self, folder: Path, tensors: Sequence[NewFloats], *, most_bytes: int = 5_000_000_000
    ) -> None:
        shards = _shards(tensors, most_bytes)
        self._places: dict[str, tuple[int, int, NewFloats]] = {}
        self._descriptors: list[int] = []
        names = _file_names(len(shards))
        try:
            for name, shard in zip(names, shards, strict=True):
                self._begin(folder / name, shard)
        except BaseException:
            self.close()
            raise
        if len(shards) > 1:
            owners = {
                tensor.name: name
                for name, shard in zip(names, shards, strict=True)
                for tensor in shard
            }
            total = sum(tensor.n_bytes for tensor in tensors)
            index = {"metadata": {"total_size": total}, "weight_map": owners}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))

    def write(self, name: str, start_row: int, values: NDArray[np.float32]) -> None:
        """Writes whole rows of a tensor, (rows, columns). Raises: BadValue, DiskFull."""
        descriptor, at, tensor = self._places[name]
        row_bytes = _BYTES[tensor.kind] * values.shape[-1]
        view = as_floats(values, tensor.kind).data.cast("B")
        start = start_row * row_bytes
        if start + len(view) > tensor.n_bytes:
            raise ValueError(f"{len(view)} bytes from row {start_row} of {tensor}")
        done = 0
        try:
            while done < len(view):
                done += os.pwrite(descriptor, view[done:], at + start + done)
        except OSError as error:
            raise _no_room(error) from error

    def close(self) -> None:
        """Brings what was written to the disk."""
        while self._descriptors:
            descriptor = self._descriptors.pop()
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def __enter__(self) -> SafetensorsFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, path: Path, shard: Sequence[NewFloats]) -> None:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for tensor in shard:
            header[tensor.name] = {
                "dtype": tensor.kind,
                "shape": list(tensor.shape),
                "data_offsets": [offset, offset + tensor.n_bytes],
            }
            offset += tensor.n_bytes
        said = json.dumps(header, separators=(",", ":")).encode()
        said += b" " * (-(8 + len(said)) % _ALIGNMENT)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._descriptors.append(descriptor)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, 8 + len(said) + offset)
            os.pwrite(descriptor, len(said).to_bytes(8, "little") + said, 0)
        except OSError as error:
            raise _no_room(error) from error
        at = 8 + len(said)
        for tensor in shard:
            self._places[tensor.name] = (descriptor, at, tensor)
            at += tensor.n_bytes


def as_floats(values: NDArray[np.float32], kind: FloatKind) -> NDArray[np.generic]:
    """The values in a float type, rounded to the nearest even; too large ones become infinite."""
    if kind == "F32":
        return np.ascontiguousarray(values, np.float32)
    if kind == "F16":
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values, np.float16)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def _shards(tensors: Sequence[NewFloats], most_bytes: int) -> list[list[NewFloats]]:
    shards: list[list[NewFloats]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.n_bytes > most_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.n_bytes
    return shards


def _file_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{index + 1:05}-of-{count:05}.safetensors" for index in range(count)]


def _no_room(error: OSError) -> OSError | DiskFull:
    if error.errno not in _NO_ROOM:
        return error
    return DiskFull(
        "there is no room for the model",
        found=error.strerror or "no space left",
        hint="free some space, or write to a larger disk",
    )
