"""The store directory: one folder per model, and nothing in it that was not verified first.

Room: library. Knows paths and sizes; must not know how a file is fetched or read.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import DigestMismatch, UnknownModel
from freehold.library.catalogue import CatalogueEntry, entries, entry_named

__all__ = ["OnShelf", "checked_path", "file_of", "remove", "shelf", "staging_dir"]


@dataclass(frozen=True, kw_only=True)
class OnShelf:
    """A catalogue entry beside what the store holds of it."""

    entry: CatalogueEntry
    path: Path
    present: bool


def staging_dir(models_dir: Path) -> Path:
    """Where unfinished downloads live: inside the store, so that publishing is one rename."""
    return models_dir / ".staging"


def file_of(entry: CatalogueEntry, models_dir: Path) -> Path:
    """Where the entry's file is, or will be."""
    return models_dir / entry.name / entry.file_name


def checked_path(entry: CatalogueEntry, models_dir: Path) -> Path | None:
    """The entry's file if it is in the store with the right size, None if it is absent.

    Raises: DigestMismatch when a file of another size sits in its place.
    """
    path = file_of(entry, models_dir)
    if not path.is_file():
        return None
    size_bytes = path.stat().st_size
    if size_bytes != entry.size_bytes:
        raise DigestMismatch(
            f"the stored file of {entry.name!r} is damaged: {path}",
            value=str(path),
            expected=f"{entry.size_bytes} bytes",
            found=f"{size_bytes} bytes",
            hint=f"`freehold rm {entry.name}`, then `freehold pull {entry.name}`",
        )
    return path


def shelf(models_dir: Path) -> tuple[OnShelf, ...]:
    """Every catalogue entry, and whether its file is in the store."""
    return tuple(
        OnShelf(entry=entry, path=path, present=path.is_file())
        for entry in entries()
        for path in (file_of(entry, models_dir),)
    )


def remove(name: str, models_dir: Path) -> int:
    """Delete a model's folder from the store and return the bytes that freed.

    Raises: UnknownModel when the catalogue or the store does not have it.
    """
    folder = file_of(entry_named(name), models_dir).parent
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
