"""The store directory: one folder per model, and nothing in it that was not verified first.

Room: library. Knows paths and sizes; must not know how a file is fetched or read.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import DigestMismatch, UnknownModel
from freehold.library.catalogue import CatalogueEntry, entries, entry_named

__all__ = ["OnShelf", "checked_path", "folder_of", "place_of", "remove", "shelf", "staging_dir"]


@dataclass(frozen=True, kw_only=True)
class OnShelf:
    """A catalogue entry beside what the store holds of it."""

    entry: CatalogueEntry
    path: Path
    present: bool


def staging_dir(models_dir: Path) -> Path:
    """Where unfinished downloads live: inside the store, so that publishing is one rename."""
    return models_dir / ".staging"


def folder_of(entry: CatalogueEntry, models_dir: Path) -> Path:
    """The folder that holds the entry's files and nothing else."""
    return models_dir / entry.name


def place_of(entry: CatalogueEntry, models_dir: Path) -> Path:
    """Where the entry's model is, or will be: its one file, or the folder of several."""
    folder = folder_of(entry, models_dir)
    return folder / entry.stored_as(entry.files[0]) if entry.folder is None else folder


def checked_path(entry: CatalogueEntry, models_dir: Path) -> Path | None:
    """The entry's model if it is in the store with the right sizes, None if it is absent.

    Raises: DigestMismatch when a file of another size sits in its place, or one of several is gone.
    """
    folder = folder_of(entry, models_dir)
    if not _present(entry, models_dir):
        return None
    for file in entry.files:
        path = folder / entry.stored_as(file)
        size_bytes = path.stat().st_size if path.is_file() else None
        if size_bytes != file.size_bytes:
            raise DigestMismatch(
                f"the stored file of {entry.name!r} is damaged: {path}",
                value=str(path),
                expected=f"{file.size_bytes} bytes",
                found="nothing there" if size_bytes is None else f"{size_bytes} bytes",
                hint=f"`freehold rm {entry.name}`, then `freehold pull {entry.name}`",
            )
    return place_of(entry, models_dir)


def _present(entry: CatalogueEntry, models_dir: Path) -> bool:
    """Whether any of the entry's files is in the store."""
    folder = folder_of(entry, models_dir)
    return any((folder / entry.stored_as(file)).is_file() for file in entry.files)


def shelf(models_dir: Path) -> tuple[OnShelf, ...]:
    """Every catalogue entry, and whether it is in the store."""
    return tuple(
        OnShelf(
            entry=entry,
            path=place_of(entry, models_dir),
            present=_present(entry, models_dir),
        )
        for entry in entries()
    )


def remove(name: str, models_dir: Path) -> int:
    """Delete a model's folder from the store and return the bytes that freed.

    Raises: UnknownModel when the catalogue or the store does not have it.
    """
    folder = folder_of(entry_named(name), models_dir)
    if not folder.is_dir():
        raise UnknownModel(
            f"{name!r} is not in the store",
            value=name,
            expected=f"a folder at {folder}",
            found="nothing there",
            hint="`freehold list` shows what is present",
        )
    freed_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return freed_bytes
