"""The digests of bytes as they pass: sha256, and git's own for files it keeps itself.

Room: library. Knows bytes; must not know names or where they come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from freehold.library.names import Commit, Sha256

__all__ = ["Counted", "Digest", "Digests", "hash_file"]

_CHUNK_BYTES = 1 << 20

Digest = Sha256 | Commit
"""What a file is pinned to: its sha256, or the sha1 that git gives a blob (written as a commit)."""

Counted = Callable[[int], None]
"""Called with the number of bytes that just passed."""


class Digests:
    """Both digests of a file of a known size, fed piece by piece."""

    def __init__(self, *, size_bytes: int, digest: Digest | None) -> None:
        self._size_bytes = size_bytes
        self._digest = digest
        self.restart()

    def restart(self) -> None:
        """Forget what was taken in."""
        self.count_bytes = 0
        self._sha256 = hashlib.sha256()
        # Two hashes cost twice the time; git's own is needed for the files that git keeps.
        self._git = None
        if isinstance(self._digest, Commit):
            self._git = hashlib.sha1(b"blob %d\0" % self._size_bytes, usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self.count_bytes += len(chunk)
        self._sha256.update(chunk)
        if self._git is not None:
            self._git.update(chunk)

    @property
    def sha256(self) -> Sha256:
        """The sha256 of what was taken in."""
        return Sha256(self._sha256.hexdigest())

    def mismatch(self) -> tuple[str, str] | None:
        """Expected and found where the file is not the pinned one, else None."""
        if self.count_bytes != self._size_bytes:
            return f"{self._size_bytes} bytes", f"{self.count_bytes} bytes"
        if isinstance(self._digest, Sha256) and self.sha256 != self._digest:
            return f"sha256 {self._digest}", f"sha256 {self.sha256}"
        if self._git is not None and self._git.hexdigest() != str(self._digest):
            return f"git blob {self._digest}", f"git blob {self._git.hexdigest()}"
        return None


def hash_file(
    path: Path,
    *,
    size_bytes: int,
    digest: Digest | None = None,
    passed: Counted | None = None,
) -> Digests:
    """The digests of a file; at most one byte past `size_bytes` is read. Raises: OSError."""
    digests = Digests(size_bytes=size_bytes, digest=digest)
    with path.open("rb") as source:
        while chunk := source.read(min(_CHUNK_BYTES, size_bytes + 1 - digests.count_bytes)):
            digests.update(chunk)
            if passed is not None:
                passed(len(chunk))
    return digests
