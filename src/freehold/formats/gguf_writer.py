"""Writes GGUF files: header first, then tensors in any order, published in one rename.

Room: formats. Knows bytes and offsets; must not know what a key or a tensor is for.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.errors import DiskFull
from freehold.formats.block_types import BlockType

__all__ = [
    "GgufWriter",
    "NewTensor",
    "f32",
    "f64",
    "i32",
    "string",
    "strings",
    "truth",
    "u32",
    "values",
]

_ALIGNMENT = 32
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_F32, _BOOL, _STRING, _ARRAY, _F64 = 6, 7, 8, 9, 12
_KINDS = {"uint32": 4, "int32": 5, "float32": _F32, "int8": 1, "uint8": 0}


def u32(value: int) -> bytes:
    """A metadata value: an unsigned 32-bit number."""
    return struct.pack("<II", 4, value)


def i32(value: int) -> bytes:
    """A metadata value: a signed 32-bit number."""
    return struct.pack("<Ii", 5, value)


def f32(value: float) -> bytes:
    """A metadata value: a 32-bit float."""
    return struct.pack("<If", _F32, value)


def f64(value: float) -> bytes:
    """A metadata value: a 64-bit float."""
    return struct.pack("<Id", _F64, value)


def truth(value: bool) -> bytes:
    """A metadata value: a boolean."""
    return struct.pack("<IB", _BOOL, value)


def string(value: str) -> bytes:
    """A metadata value: a string."""
    return struct.pack("<I", _STRING) + _text(value)


def strings(some: Sequence[str]) -> bytes:
    """A metadata value: an array of strings."""
    return struct.pack("<IIQ", _ARRAY, _STRING, len(some)) + b"".join(map(_text, some))


def values(some: NDArray[np.generic]) -> bytes:
    """A metadata value: an array of numbers of one of the types that tokenizers use."""
    kind = _KINDS[some.dtype.name]
    return struct.pack("<IIQ", _ARRAY, kind, some.size) + some.tobytes()


class NewTensor(NamedTuple):
    """A tensor to be written. Shapes: row-major, (out, in) for a matrix."""

    name: str
    shape: tuple[int, ...]
    type: BlockType

    @property
    def row_bytes(self) -> int:
        """How many bytes a row takes."""
        return self.shape[-1] // self.type.block_elements * self.type.block_bytes

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return prod(self.shape[:-1])

    @property
    def n_bytes(self) -> int:
        """How many bytes its data take."""
        return self.rows * self.row_bytes


class GgufWriter:
    """A file to be, under a temporary name beside `target`; only `publish` makes it appear.

    Use it in a `with`: whatever ends the block before `publish` removes the temporary file. The
    whole size is reserved on the disk first. What a writer that was killed left behind under such a
    name is removed by the next one of the same target. `metadata` values are made by this module's
    functions, or are `GgufFile.raw_value`'s.
    Raises: DiskFull, OSError.
    """

    def __init__(
        self, target: Path, metadata: Mapping[str, bytes], tensors: Sequence[NewTensor]
    ) -> None:
        self.target = target
        self.part = target.with_name(f".{target.name}.{os.getpid()}.part")
        self._metadata = dict(metadata)
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._offsets: dict[str, int] = {}
        at = 0
        for tensor in tensors:
            self._offsets[tensor.name] = at
            at += -(-tensor.n_bytes // _ALIGNMENT) * _ALIGNMENT
        self._worker = ThreadPoolExecutor(1, "writing")
        self._begun: Future[Any] | None = None
        self._header = self._make_header()
        self._data_start = -(-len(self._header) // _ALIGNMENT) * _ALIGNMENT
        self.size_bytes = self._data_start + at
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(target)
        self._descriptor = _locked(self.part)
        try:
            self._reserve()
            self._put(self._header, 0)
        except BaseException:
            self.close()
            raise

    def write(self, name: str, start_row: int, data: NDArray[np.uint8]) -> None:
        """Writes whole rows of a tensor, (rows, row_bytes), beside what the caller does next.

        The rows must stay as they are. Raises: DiskFull, also one that the write before it met.
        """
        tensor = self._tensors[name]
        end = start_row * tensor.row_bytes + data.size
        if data.size % tensor.row_bytes or end > tensor.n_bytes:
            raise ValueError(f"{data.size} bytes from row {start_row} of {tensor}")
        place = self._data_start + self._offsets[name] + start_row * tensor.row_bytes
        self._begin(self._put, np.ascontiguousarray(data).data.cast("B"), place)

    def set(self, metadata: Mapping[str, bytes]) -> None:
        """Gives known keys other values of the same length in bytes. Raises: as `write`."""
        for key, value in metadata.items():
            if len(value) != len(self._metadata[key]):
                raise ValueError(f"{key} would change its length")
        self._metadata.update(metadata)
        self._header = self._make_header()
        self._begin(self._put, self._header, 0)

    def settle(self) -> None:
        """Completes the file for readers; it reaches the disk beside what the caller does next.

        Raises: as `write`.
        """
        self._begin(os.fsync, self._descriptor)

    def publish(self) -> Path:
        """Makes the file appear under its name. Raises: OSError, also one that was met before."""
        self._begin(os.fsync, self._descriptor)
        self._join()
        self.part.replace(self.target)
        os.close(self._descriptor)  # with its lock, and so after the name is free
        self._descriptor = -1
        folder = os.open(self.target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self.target

    def close(self) -> None:
        """Removes what was not published."""
        if self._descriptor >= 0:
            self.part.unlink(missing_ok=True)  # first: what has no name need not reach the disk
        self._worker.shutdown()  # waits: its descriptor must not become another file's
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> GgufWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, work: Callable[..., None], *args: Any) -> None:
        """One thing after the other."""
        self._join()
        self._begun = self._worker.submit(work, *args)

    def _join(self) -> None:
        if self._begun is not None:
            self._begun.result()

    def _make_header(self) -> bytes:
        parts = [b"GGUF", struct.pack("<IQQ", 3, len(self._tensors), len(self._metadata))]
        parts += [_text(key) + value for key, value in self._metadata.items()]
        for name, tensor in self._tensors.items():
            dims = tensor.shape[::-1]
            parts.append(_text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims))
            parts.append(struct.pack("<IQ", int(tensor.type), self._offsets[name]))
        return b"".join(parts)

    def _reserve(self) -> None:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._descriptor, 0, self.size_bytes)
            else:
                os.ftruncate(self._descriptor, self.size_bytes)
        except OSError as error:
            raise self._no_room(error) from error

    def _put(self, data: bytes | memoryview, at: int) -> None:
        done = 0
        view = memoryview(data)
        try:
            while done < len(view):
                done += os.pwrite(self._descriptor, view[done:], at + done)
        except OSError as error:
            raise self._no_room(error) from error

    def _no_room(self, error: OSError) -> OSError | DiskFull:
        if error.errno not in _NO_ROOM:
            return error
        return DiskFull(
            f"there is no room for {self.target.name}",
            value=str(self.target),
            expected=f"room for {self.size_bytes} bytes",
            found=error.strerror or "no space left",
            hint="free some space, or write to a larger disk",
        )


def _locked(part: Path) -> int:
    """A descriptor of an empty file, locked for as long as it is open: it is being written."""
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with suppress(OSError):  # of a file system without locks, where nothing is removed either
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits for another thread with the same target
        try:
            if os.path.samestat(part.stat(), os.fstat(descriptor)):
                os.ftruncate(descriptor, 0)
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # it was published, or taken for left behind before it was locked


def _remove_left_behind(target: Path) -> None:
    name = re.compile(rf"\.{re.escape(target.name)}\.\d+\.part")
    for part in [each for each in target.parent.iterdir() if name.fullmatch(each.name)]:
        try:
            descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue  # gone, or not ours
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink(missing_ok=True)
        except OSError:
            pass  # it is being written
        finally:
            os.close(descriptor)


def _text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw
