"""Files that were uploaded or that a job wrote: bytes in the home, facts in the database.

Room: store. Every query names the owner. A file's place is made from its id, which is made here, so
that no name from outside ever becomes a path. Must not know HTTP or what a file is for.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import sqlalchemy as sa

from freehold.errors import BadRequest, DiskFull, NotFound, StoreUnusable, TooLarge
from freehold.store.paging import after_row
from freehold.store.schema import files as table

if TYPE_CHECKING:
    from types import TracebackType

    from freehold.store.database import Database

__all__ = ["Files", "Incoming", "StoredFile"]

_ID = re.compile(r"file-[0-9a-f]{32}")
_CHUNK_BYTES = 1 << 20
_LONGEST_NAME = 255
# What a file may never take: the database and everything else here must still be able to write.
_KEPT_FREE_BYTES = 256 << 20
# How often the disk is asked while a file grows.
_LOOK_EVERY_BYTES = 16 << 20
# What was being written when the server crashed. A whole file without its row is left alone: it may
# be of another database that this home had.
_LEFTOVER_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """What is known of a file. Units: times in seconds since 1970."""

    id: str
    owner: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    created_at: float
    expires_at: float | None


class Incoming:
    """A file that is being written; gone unless it is published."""

    def __init__(self, files: Files, max_bytes: int) -> None:
        self.bytes = 0
        self._files = files
        self._max_bytes = max_bytes
        self._looked = -_LOOK_EVERY_BYTES
        self._sha256 = hashlib.sha256()
        self._place = files.directory / f"incoming-{secrets.token_hex(16)}"
        self._handle = _private(self._place)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # what could not be written is about to be deleted
            self._handle.close()
        self._place.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        """Add bytes. Raises: TooLarge, DiskFull; nothing is kept then."""
        self.bytes += len(piece)
        if self.bytes > self._max_bytes:
            raise TooLarge(
                "the file is too large",
                param="file",
                expected=f"at most {self._max_bytes} bytes",
                found=f"more than {self._max_bytes} bytes",
            )
        if self.bytes - self._looked >= _LOOK_EVERY_BYTES:
            self._looked = self.bytes
            if shutil.disk_usage(self._files.directory).free < _KEPT_FREE_BYTES + len(piece):
                raise _disk_full(self._files.directory)
        self._sha256.update(piece)
        try:
            self._handle.write(piece)
        except OSError as error:
            raise _written_badly(self._files.directory, error) from error

    def publish(
        self,
        *,
        owner: str,
        filename: str,
        purpose: str,
        expires_at: float | None = None,
        file_id: str | None = None,
    ) -> StoredFile:
        """Let the file exist, whole and on disk.

        `file_id` is for whoever must find it again after a crash. Raises: BadRequest, DiskFull,
        StoreUnusable, also when the id is taken.
        """
        _check_name(filename)
        stored = StoredFile(
            id=file_id or f"file-{secrets.token_hex(16)}",
            owner=owner,
            filename=filename,
            purpose=purpose,
            bytes=self.bytes,
            sha256=self._sha256.hexdigest(),
            created_at=time.time(),
            expires_at=expires_at,
        )
        place = self._files.place(stored.id)
        try:
            self._handle.flush()
            os.fsync(self._handle.fileno())
            self._place.replace(place)
            _sync(self._files.directory)
        except OSError as error:
            raise _written_badly(self._files.directory, error) from error
        try:
            self._files.admit(stored)
        except BaseException:
            place.unlink(missing_ok=True)
            raise
        return stored


class Files:
    """The files of all owners, seen one owner at a time. Calls block."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self.directory = directory

    def incoming(self, *, max_bytes: int) -> Incoming:
        """A new file to write to, as a context. Raises: StoreUnusable."""
        return Incoming(self, max_bytes)

    def put(
        self,
        *,
        owner: str,
        filename: str,
        purpose: str,
        content: Iterable[bytes] | BinaryIO,
        max_bytes: int,
        expires_at: float | None = None,
    ) -> StoredFile:
        """Keep a file. Raises: BadRequest, TooLarge, DiskFull, StoreUnusable; nothing is left."""
        with self.incoming(max_bytes=max_bytes) as incoming:
            for piece in _pieces(content):
                incoming.write(piece)
            return incoming.publish(
                owner=owner, filename=filename, purpose=purpose, expires_at=expires_at
            )

    def admit(self, stored: StoredFile) -> None:
        """The row of a file whose bytes are in their place. Raises: StoreUnusable."""
        with self._database.write() as connection:
            connection.execute(sa.insert(table), [vars(stored)])

    def get(self, file_id: str, *, owner: str) -> StoredFile | None:
        """The owner's file with this id, if there is one and its time is not over."""
        query = sa.select(table).where(*_own(file_id, owner), _alive())
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else StoredFile(**row)

    def open(self, file_id: str, *, owner: str) -> BinaryIO:
        """The bytes of the owner's file, from the first one. Raises: NotFound, StoreUnusable."""
        if self.get(file_id, owner=owner) is None:
            raise _no_file(file_id)
        try:
            return self.place(file_id).open("rb")
        except FileNotFoundError:
            # The row is there: somebody took the bytes away.
            raise StoreUnusable(
                f"{file_id}: the file's bytes are gone from the home",
                value=file_id,
                expected=str(self.place(file_id)),
                found="nothing",
                hint="restore the directory, or delete the file and upload it again",
            ) from None

    def list(
        self,
        *,
        owner: str,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 10_000,
        newest_first: bool = True,
    ) -> list[StoredFile]:
        """The owner's files, of one purpose or all. Raises: NotFound for `after`."""
        query = sa.select(table).where(table.c.owner == owner, _alive())
        if purpose is not None:
            query = query.where(table.c.purpose == purpose)
        with self._database.read() as connection:
            paged = after_row(
                connection, table, query, after=after, owner=owner, newest_first=newest_first
            )
            rows = connection.execute(paged.limit(limit)).mappings().all()
        return [StoredFile(**row) for row in rows]

    def delete(self, file_id: str, *, owner: str) -> bool:
        """Forget the owner's file for good; False if there was none. Raises: StoreUnusable."""
        query = sa.delete(table).where(*_own(file_id, owner))
        with self._database.write() as connection:
            gone = connection.execute(query).rowcount > 0
        if gone:
            self.place(file_id).unlink(missing_ok=True)
        return gone

    def sweep(self) -> int:
        """Delete what has expired, and what a crash left half written. How many went."""
        with self._database.write() as connection:
            over = sa.select(table.c.id).where(sa.not_(_alive()))
            gone = connection.execute(over).scalars().all()
            connection.execute(sa.delete(table).where(table.c.id.in_(gone)))
        for file_id in gone:
            self.place(file_id).unlink(missing_ok=True)
        leftovers = self._half_written()
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(gone) + len(leftovers)

    def place(self, file_id: str) -> Path:
        """Where a file's bytes lie. Raises: NotFound for what is no id of a file."""
        if not _ID.fullmatch(file_id):
            raise _no_file(file_id)
        return self.directory / file_id

    def _half_written(self) -> tuple[Path, ...]:
        """Old enough that nobody is writing them."""
        if not self.directory.is_dir():
            return ()
        before = time.time() - _LEFTOVER_S
        found = self.directory.glob("incoming-*")
        return tuple(path for path in found if path.stat().st_mtime < before)


def _pieces(content: Iterable[bytes] | BinaryIO) -> Iterable[bytes]:
    read: Callable[[int], bytes] | None = getattr(content, "read", None)
    return content if read is None else iter(lambda: read(_CHUNK_BYTES), b"")


def _own(file_id: str, owner: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.id == file_id, table.c.owner == owner)


def _alive() -> sa.ColumnElement[Any]:
    return sa.or_(table.c.expires_at.is_(None), table.c.expires_at > time.time())


def _no_file(file_id: str) -> NotFound:
    return NotFound("there is no such file", param="file_id", value=file_id[:100])


def _check_name(filename: str) -> None:
    if not 0 < len(filename) <= _LONGEST_NAME or not filename.isprintable():
        raise BadRequest(
            "the file's name is not usable",
            param="file",
            expected=f"1 to {_LONGEST_NAME} printable characters",
            found=f"{len(filename)} characters",
        )


def _private(place: Path) -> BinaryIO:
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _written_badly(place.parent, error) from error
    return os.fdopen(descriptor, "wb")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_full(directory: Path) -> DiskFull:
    return DiskFull(
        "the disk has no room for this file",
        value=str(directory),
        expected=f"{_KEPT_FREE_BYTES >> 20} MiB left free beside it",
        found="less",
        hint="delete files that are not needed, or set FREEHOLD_HOME to a larger disk",
    )


def _written_badly(directory: Path, error: OSError) -> DiskFull | StoreUnusable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full(directory)
    return StoreUnusable(
        f"{directory}: a file cannot be written",
        value=str(directory),
        found=error.strerror or type(error).__name__,
        hint="check the directory's permissions, and the disk",
    )
