"""A file mapped read-only, with views that copy nothing and pages that can be given back.

Room: formats. Knows bytes and pages; must not know what any byte means.
"""

from __future__ import annotations

import mmap
import os
import reprlib
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from freehold.errors import BadValue, Truncated

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MappedFile", "clip", "label"]

_LONGEST_SHOWN = 80
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 2
_BRIEF.maxstring = _BRIEF.maxother = _LONGEST_SHOWN - 5


def clip(found: object) -> str:
    """A repr short enough for an error line, however long or deep a hostile file made it."""
    shown = _BRIEF.repr(found)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 3] + "..."


def label(name: str) -> str:
    """A key or a tensor's name as it is, or its clipped repr if it is long or unprintable."""
    return name if len(name) <= _LONGEST_SHOWN and name.isprintable() else clip(name)


class MappedFile:
    """The bytes of one regular file, without reading them.

    Raises: OSError when the file cannot be opened; BadValue when it is not a regular file (a
    pipe would make the reader wait forever); Truncated when it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadValue(
                    "this is not a regular file",
                    path=path,
                    expected="a model file",
                    found="a directory" if stat.S_ISDIR(status.st_mode) else "a special file",
                    hint="give the path of the file itself",
                )
            self.size_bytes = status.st_size
            if self.size_bytes == 0:
                raise Truncated(
                    "the file is empty",
                    path=path,
                    offset=0,
                    expected="a header",
                    found="0 bytes",
                    hint="fetch it again",
                )
            # The length is given, so that a file that grows meanwhile is still the one we judged.
            self._map: mmap.mmap | None = mmap.mmap(
                descriptor, self.size_bytes, access=mmap.ACCESS_READ
            )
        finally:
            os.close(descriptor)

    @property
    def map(self) -> mmap.mmap:
        """The mapping itself, for parsers: slicing it gives bytes.

        Raises: ValueError after close().
        """
        if self._map is None:
            raise ValueError(f"{self.path} has been closed")
        return self._map

    def check_open(self) -> None:
        """Raises: ValueError after close()."""
        _ = self.map

    def view(self, start: int, n_bytes: int) -> NDArray[np.uint8]:
        """Bytes `start` to `start + n_bytes` as a read-only array, without a copy."""
        return np.frombuffer(self.map, np.uint8, count=n_bytes, offset=start)

    def release(self, start: int, end: int) -> None:
        """Drop the whole pages inside the range from this process's memory.

        Views stay valid: a page that is touched again comes back from the file.
        """
        page = mmap.PAGESIZE
        first = -(-start // page) * page
        last = end // page * page
        if last > first and sys.platform != "win32":
            self.map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def close(self) -> None:
        """Unmap, or, while views are alive, leave that to the last of them."""
        mapped, self._map = self._map, None
        if mapped is not None:
            try:
                mapped.close()
            except BufferError:
                return
