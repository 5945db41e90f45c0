"""Brings a model of a hub into the store: list, choose, check the disk, fetch, verify, publish.

Room: library. The order of the steps, the lock and the staging folder; must not know how any step
is done, nor how progress is shown.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from freehold.config import Settings
from freehold.errors import DigestMismatch
from freehold.library.hashing import hash_file
from freehold.library.held import find_held, moment, publish_held
from freehold.library.held_events import write_down
from freehold.library.held_record import FILES, Held, HeldFile, Origin
from freehold.library.hub import Hub, Listing, RemoteFile
from freehold.library.hub_fetch import Fetch, disk_full
from freehold.library.locking import only_one
from freehold.library.names import HubReference, Revision
from freehold.library.nearby import copies_of, take
from freehold.library.opening import check_opens
from freehold.library.progress import Progress
from freehold.library.selection import Selection, select
from freehold.library.shelf import staging_dir

__all__ = ["HubPulled", "pull_from_hub", "verify_held"]

_MARGIN_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class HubPulled:
    """The outcome: the model, whether this call brought it, and bytes found on this machine."""

    held: Held
    fetched: bool
    digest_checked: bool
    found_bytes: int = 0


def pull_from_hub(
    reference: HubReference,
    *,
    settings: Settings,
    verify: bool = False,
    update: bool = False,
    progress: Progress,
) -> HubPulled:
    """Make sure the model is in the store, fetching it if it is not.

    One that is there stays as it is, without a request, unless `update` asks whether the revision
    has moved. Two pulls at once are safe; a stopped one is continued by the next. What was fetched
    is in the record afterwards.
    Raises: BadReference, DownloadFailed, DigestMismatch, DiskFull, FormatError, StoreUnusable; what
    the gate raises, before anything is fetched.
    """
    # Listing what is here must not cost the reading of licences.
    from freehold.library.gate import require

    models_dir = settings.models_dir
    held = find_held(reference, models_dir)
    if held is not None and not update:
        return _present(held, verify=verify, progress=progress)
    hub = Hub()
    listing = hub.listing(reference)
    chosen = select(listing.files, reference)
    require(listing.repo.text, "pull", settings=settings, declared=listing.licence or "unknown")
    pinned = HubReference(listing.repo, chosen.quant, Revision(listing.commit.hex))
    staging = staging_dir(models_dir)
    staging.mkdir(parents=True, exist_ok=True)
    name = f"hub--{listing.repo.key}--{chosen.quant.key}--{listing.commit.hex[:12]}"
    with only_one(staging / f"{name}.lock", waiting=lambda: progress("wait", 0, 0)):
        held = find_held(pinned, models_dir)
        if held is not None:
            return _present(held, verify=verify, progress=progress)
        job = _Job(hub, reference, listing, chosen, staging / name, progress)
        files, found_bytes = job.collect()
        held = job.publish(files, models_dir)
        write_down(held, settings=settings, progress=progress)
    return HubPulled(held=held, fetched=True, digest_checked=True, found_bytes=found_bytes)


def _present(held: Held, *, verify: bool, progress: Progress) -> HubPulled:
    held.checked_path()
    if verify:
        verify_held(held, progress=progress)
    return HubPulled(held=held, fetched=False, digest_checked=verify)


def verify_held(held: Held, *, progress: Progress) -> None:
    """Hash every file of a model again. Raises: DigestMismatch."""
    counted = _Counter("verify", held.size_bytes, progress)
    for file in held.files:
        path = held.folder / FILES / file.name.text
        digests = hash_file(
            path, size_bytes=file.size_bytes, digest=file.sha256, passed=counted.add
        )
        wrong = digests.mismatch()
        if wrong is not None:
            raise DigestMismatch(
                f"a file of {held.ref!r} is damaged: {path}",
                value=str(path),
                expected=wrong[0],
                found=wrong[1],
                hint=f"`freehold rm {held.ref}`, then get it again",
            )


class _Counter:
    """Adds up bytes for a progress bar."""

    def __init__(self, phase: str, total: int, progress: Progress) -> None:
        self._phase, self._total, self._progress = phase, total, progress
        self._done = 0

    def add(self, count: int) -> None:
        self._done += count
        self._progress(self._phase, self._done, self._total)


@dataclass(frozen=True)
class _Job:
    """One model on its way; `staged` keeps what is there of it between tries."""

    hub: Hub
    reference: HubReference
    listing: Listing
    chosen: Selection
    staged: Path
    progress: Progress

    def collect(self) -> tuple[tuple[HeldFile, ...], int]:
        """All files in the staging folder, verified; and the bytes that were on this machine."""
        files: list[HeldFile] = []
        missing: list[RemoteFile] = []
        counted = _Counter("verify", self.chosen.size_bytes, self.progress)
        for file in self.chosen.files:
            nearby = self._from_nearby(file, counted.add)
            if nearby is None:
                missing.append(file)
            else:
                files.append(nearby)
        found_bytes = sum(file.size_bytes for file in files)
        self._check_disk(missing)
        total = sum(file.size_bytes for file in missing)
        fetch = Fetch(
            hub=self.hub,
            reference=self.reference,
            listing=self.listing,
            passed=_Counter("download", total, self.progress).add,
        )
        for file in missing:
            partial = self._partial(file)
            sha256 = fetch.fetch(file, partial)
            target = self._target(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
            files.append(HeldFile(name=file.name, size_bytes=file.size_bytes, sha256=sha256))
        return tuple(files), found_bytes

    def publish(self, files: tuple[HeldFile, ...], models_dir: Path) -> Held:
        """Open the model as a reader would, and put it in its place."""
        listing, chosen = self.listing, self.chosen
        held = Held(
            name=None,
            origin=Origin(
                kind="hub",
                place=self.hub.endpoint,
                repo=listing.repo,
                quant=chosen.quant,
                revision=self.reference.revision or Revision("main"),
                commit=listing.commit,
            ),
            obtained_at=moment(),
            licence=listing.licence,
            model=chosen.model,
            files=tuple(sorted(files, key=lambda file: file.name.text)),
            folder=self.staged,
        )
        check_opens(held.path)
        shutil.rmtree(self.staged / "partial", ignore_errors=True)
        return publish_held(held, staged=self.staged, models_dir=models_dir)

    def _target(self, file: RemoteFile) -> Path:
        return self.staged / FILES / file.name.text

    def _partial(self, file: RemoteFile) -> Path:
        return self.staged / "partial" / file.digest.hex

    def _from_nearby(self, file: RemoteFile, passed: Callable[[int], None]) -> HeldFile | None:
        """A file that an earlier try finished, or that another program has. Hashed in any case."""
        target = self._target(file)
        for source in [target, *copies_of(file, self.listing.repo)]:
            if not source.is_file() or source.stat().st_size != file.size_bytes:
                continue
            digests = hash_file(
                source, size_bytes=file.size_bytes, digest=file.digest, passed=passed
            )
            if digests.mismatch() is not None:
                continue
            linked = target.is_symlink() if source == target else take(source, target)
            return HeldFile(
                name=file.name,
                size_bytes=file.size_bytes,
                sha256=digests.sha256,
                linked=linked,
            )
        return None

    def _check_disk(self, missing: list[RemoteFile]) -> None:
        partials = [self._partial(file) for file in missing]
        there = sum(path.stat().st_size for path in partials if path.exists())
        needed = sum(file.size_bytes for file in missing) - there + _MARGIN_BYTES
        free = shutil.disk_usage(self.staged.parent).free
        if missing and free < needed:
            raise disk_full(
                str(self.reference), self.staged.parent, needed, f"{free / 1e6:.0f} MB free"
            )
