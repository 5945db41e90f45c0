"""Takes the models of a bundle into the store, after everything in it was verified.

Room: library. Streams bytes into the staging folder; must not know terminals. A bundle is
untrusted: its list is read first and bounds all that follows.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from freehold.config import Settings
from freehold.errors import BadBundle, DigestMismatch
from freehold.library.bundle_manifest import (
    MANIFEST,
    MAX_LIST_BYTES,
    SIGNATURE,
    BundleFile,
    Manifest,
    parse_manifest,
    parse_signature,
)
from freehold.library.catalogue import CatalogueEntry, entries
from freehold.library.hashing import Digests
from freehold.library.held import held_models, publish_held
from freehold.library.held_events import write_down
from freehold.library.held_record import FILES, Held
from freehold.library.hub_fetch import disk_full
from freehold.library.locking import only_one
from freehold.library.names import SafeName
from freehold.library.opening import check_opens
from freehold.library.progress import Progress
from freehold.library.pulling import pull
from freehold.library.record import Source
from freehold.library.shelf import checked_path, folder_of, staging_dir
from freehold.library.signing import PublicKey, Signature
from freehold.library.tar_stream import entries_of

__all__ = ["Unbundled", "import_bundle", "is_bundle"]

_MARGIN_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Unbundled:
    """What came of a bundle: the models taken in, those that were here, and who signed it.

    `wheels` are the names of those that lie in it, each with the digest that the list has.
    """

    models: tuple[Held, ...]
    present: tuple[Held, ...]
    key: PublicKey | None
    trusted: bool
    wheels: tuple[str, ...] = ()


class _Member(Protocol):
    @property
    def name(self) -> SafeName: ...

    @property
    def size_bytes(self) -> int: ...

    def chunks(self) -> Iterator[bytes]: ...


def is_bundle(path: Path) -> bool:
    """Whether a path is meant as a bundle: a .tar file, or a folder with a bundle's list."""
    return path.suffix == ".tar" if path.is_file() else (path / MANIFEST.text).is_file()


def import_bundle(
    path: Path, *, settings: Settings, trust: PublicKey | None, progress: Progress
) -> Unbundled:
    """Verify the whole bundle, then take in the models of it that are not here.

    With `trust`, the bundle must be signed by that key; a signature must fit in any case.
    Raises: BadBundle, BadReference, DigestMismatch, DiskFull, FormatError, StoreUnusable, OSError;
    nothing was published then.
    """
    models_dir = settings.models_dir
    staging = staging_dir(models_dir)
    staging.mkdir(parents=True, exist_ok=True)
    with (
        only_one(staging / "bundle.lock", waiting=lambda: progress("wait", 0, 0)),
        tempfile.TemporaryDirectory(prefix="bundle-", dir=staging) as folder,
        _members(path) as members,
    ):
        job = _Job(Path(folder), trust, progress)
        manifest, signature = job.verify(members)
        here = {held.key: held for held in held_models(models_dir)}
        present = tuple(model for model in manifest.models if _is_here(model, here, models_dir))
        fresh = [model for model in manifest.models if model not in present]
        for model in fresh:
            check_opens(dataclasses.replace(model, folder=job.staged(model)).path)
        taken = tuple(_publish(model, job.staged(model), models_dir) for model in fresh)
    key = signature.key if signature is not None else None
    source = Source(
        kind="bundle", reference=str(path.absolute()), signed_by=key.fingerprint if key else None
    )
    for model in taken:
        if _entry_of(model) is not None:
            # It is the catalogue's own model now: pulling it again verifies and records it.
            pull(model.ref, settings=settings, verify=True, progress=progress)
        else:
            write_down(model, settings=settings, progress=progress, source=source)
    return Unbundled(
        models=taken,
        present=present,
        key=key,
        trusted=trust is not None,
        wheels=tuple(name for name in _names(manifest) if name.startswith("wheels/")),
    )


def _names(manifest: Manifest) -> list[str]:
    return [file.name.text for file in manifest.files if file.name.text.endswith(".whl")]


@dataclass(frozen=True)
class _Job:
    folder: Path
    trust: PublicKey | None
    progress: Progress

    def staged(self, model: Held) -> Path:
        """Where a model is put together."""
        return self.folder / "models" / model.key

    def verify(self, members: Iterator[_Member]) -> tuple[Manifest, Signature | None]:
        """Every byte of the bundle against its list, into the staging folder."""
        raw = _small(members, MANIFEST)
        manifest = parse_manifest(raw)
        missing = {file.name: file for file in manifest.files}
        member = next(members, None)
        signature: Signature | None = None
        if member is not None and member.name == SIGNATURE:
            signature = parse_signature(_content(member))
            member = next(members, None)
        self._check_key(raw, signature)
        self._check_disk(manifest)
        done = 0
        while member is not None:
            pinned = missing.pop(member.name, None)
            if pinned is None:
                raise _bad("files of the list, each once", f"{member.name}")
            self._take(member, pinned, done, manifest.size_bytes)
            done += pinned.size_bytes
            member = next(members, None)
        if missing:
            raise _bad("every file of the list", f"no {next(iter(missing))}")
        return manifest, signature

    def _check_key(self, raw: bytes, signature: Signature | None) -> None:
        if signature is not None:
            signature.check(raw)
        found = signature.key if signature is not None else None
        if self.trust is not None and found != self.trust:
            raise BadBundle(
                "the bundle is not signed by the key that you trust",
                value=self.trust.fingerprint,
                expected=f"a signature by the key {self.trust.fingerprint}",
                found=f"one by {found.fingerprint}" if found is not None else "no signature",
                hint="ask whoever made it for their key, over another way than the bundle's",
            )

    def _check_disk(self, manifest: Manifest) -> None:
        needed, free = manifest.size_bytes + _MARGIN_BYTES, shutil.disk_usage(self.folder).free
        if free < needed:
            raise disk_full("the bundle", self.folder, needed, f"{free / 1e6:.0f} MB free")

    def _take(self, member: _Member, pinned: BundleFile, done: int, total: int) -> None:
        """One file into the staging folder, if it is a model's; hashed in any case."""
        if member.size_bytes != pinned.size_bytes:
            found = f"{member.size_bytes} bytes"
            raise _mismatch(pinned, f"{pinned.size_bytes} bytes", found)
        digests = Digests(size_bytes=pinned.size_bytes, digest=pinned.sha256)
        with self._place(pinned) as output:
            for chunk in member.chunks():
                digests.update(chunk)
                output.write(chunk)
                self.progress("verify", done + digests.count_bytes, total)
        wrong = digests.mismatch()
        if wrong is not None:
            raise _mismatch(pinned, *wrong)

    @contextmanager
    def _place(self, pinned: BundleFile) -> Iterator[BinaryIO]:
        parts = pinned.name.text.split("/", 2)
        if parts[0] == "models" and len(parts) == 3:
            place = self.folder / "models" / parts[1] / FILES / parts[2]
        else:
            place = self.folder / "others" / pinned.sha256.hex
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with place.open("wb") as output:
                yield output
                output.flush()
                os.fsync(output.fileno())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            reason = error.strerror or "no space left"
            raise disk_full(str(pinned.name), self.folder, pinned.size_bytes, reason) from error


def _entry_of(model: Held) -> CatalogueEntry | None:
    """The catalogue's entry that a model is, by the digests of all its files."""
    files = {file.sha256.hex for file in model.files}
    for entry in entries():
        if model.name is not None and model.name.text == entry.name:
            if files != {file.sha256 for file in entry.files}:
                raise _bad(f"{entry.name} with the catalogue's digests", "other files")
            return entry
    return None


def _is_here(model: Held, here: Mapping[str, Held], models_dir: Path) -> bool:
    """Whether the store has this model already. Raises: BadBundle for another one of its name."""
    entry = _entry_of(model)
    if entry is not None:
        return checked_path(entry, models_dir) is not None
    held = here.get(model.key)
    if held is not None and _digests(held) != _digests(model):
        raise BadBundle(
            f"the store has another model called {model.ref!r}",
            value=model.ref,
            expected="the same files, or a name that is free",
            found="other files",
            hint=f"`freehold rm {model.ref}` first, if the bundle's is to take its place",
        )
    return held is not None


def _digests(model: Held) -> dict[str, str]:
    return {file.name.text: file.sha256.hex for file in model.files}


def _publish(model: Held, staged: Path, models_dir: Path) -> Held:
    entry = _entry_of(model)
    if entry is None:
        return publish_held(model, staged=staged, models_dir=models_dir)
    target = folder_of(entry, models_dir)
    (staged / FILES).replace(target)
    return dataclasses.replace(model, folder=target)


def _small(members: Iterator[_Member], name: SafeName) -> bytes:
    member = next(members, None)
    if member is None or member.name != name:
        raise _bad(f"{name} as the first file", "something else")
    return _content(member)


def _content(member: _Member) -> bytes:
    if member.size_bytes > MAX_LIST_BYTES:
        raise _bad(f"at most {MAX_LIST_BYTES} bytes", f"{member.size_bytes} of {member.name}")
    return b"".join(member.chunks())


@dataclass(frozen=True, kw_only=True)
class _FolderFile:
    """A file of a bundle that is a folder."""

    name: SafeName
    size_bytes: int
    source: BinaryIO

    def chunks(self) -> Iterator[bytes]:
        left = self.size_bytes
        while chunk := self.source.read(min(left, _CHUNK_BYTES)):
            left -= len(chunk)
            yield chunk


@contextmanager
def _members(path: Path) -> Iterator[Iterator[_Member]]:
    if path.is_dir():
        yield _folder_members(path)
    else:
        with path.open("rb") as source:
            yield entries_of(source)


def _folder_members(folder: Path) -> Iterator[_Member]:
    """The files of a folder, the list first. No link is followed. Raises: BadBundle."""
    found: list[tuple[SafeName, Path]] = []
    for parent, folders, files in os.walk(folder):
        for each in (*folders, *files):
            status = (Path(parent) / each).lstat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise _bad("plain files and folders", f"a link or a device: {each!r:.80}")
        for each in files:
            place = Path(parent) / each
            found.append((SafeName(place.relative_to(folder).as_posix()), place))
    first = (MANIFEST, SIGNATURE)
    found.sort(key=lambda item: (item[0] not in first, item[0] != MANIFEST, item[0].text))
    for name, place in found:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as source:
            size_bytes = os.fstat(descriptor).st_size
            yield _FolderFile(name=name, size_bytes=size_bytes, source=source)


def _mismatch(pinned: BundleFile, expected: str, found: str) -> DigestMismatch:
    return DigestMismatch(
        f"{pinned.name} is not the file that the bundle's list names",
        value=pinned.name.text,
        expected=expected,
        found=found,
        hint="the bundle was damaged or altered; nothing was taken in",
    )


def _bad(expected: str, found: str) -> BadBundle:
    return BadBundle(
        "the bundle is not in order",
        expected=expected,
        found=found,
        hint="it was damaged or altered; nothing was taken in",
    )
