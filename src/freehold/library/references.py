"""What a reference stands for: a path, a short name, or a repository, in the store.

Room: library. Turns text into a path that exists; must not open the file.
"""

from __future__ import annotations

import os
from pathlib import Path

from freehold.config import Settings, resolve_settings
from freehold.errors import UnknownModel
from freehold.library.catalogue import entries
from freehold.library.held import held_named
from freehold.library.names import is_hub_reference
from freehold.library.shelf import checked_path, place_of

__all__ = ["resolve"]


def resolve(ref: str | Path, *, settings: Settings | None = None) -> Path:
    """The model a reference names: a path, a short name, or `org/name[:quant][@revision]`.

    A path is a file, or a directory with a config.json in it; it goes before a repository. Nothing
    is fetched.
    Raises: UnknownModel for any other directory, a missing file, and what the store lacks;
    BadReference for a malformed or ambiguous one; DigestMismatch for a damaged store file.
    """
    text = os.fspath(ref)
    for entry in entries():
        if text != entry.name or isinstance(ref, Path):
            continue
        models_dir = (settings or resolve_settings()).models_dir
        path = checked_path(entry, models_dir)
        if path is not None:
            return path
        raise UnknownModel(
            f"{entry.name!r} has not been pulled yet",
            value=text,
            expected=f"its files at {place_of(entry, models_dir)}",
            found="nothing there",
            hint=f"`freehold pull {entry.name}`",
        )
    return _resolve_path(text, settings, is_path=isinstance(ref, Path))


def _held(text: str, settings: Settings | None) -> Path | None:
    """The model of this name, or of this repository, in the store."""
    held = held_named(text, (settings or resolve_settings()).models_dir)
    return held.checked_path() if held is not None else None


def _resolve_path(text: str, settings: Settings | None, *, is_path: bool) -> Path:
    path = Path(text).expanduser()
    try:
        if path.is_file() or (path / "config.json").is_file():
            return path
        exists = path.exists()
    except OSError as error:
        raise _unknown(text, found=error.strerror or type(error).__name__) from error
    if not is_path and not _looks_like_path(text):
        held = _held(text, settings)
        if held is not None:
            return held
    if exists:
        found = "a directory" if path.is_dir() else "not a regular file"
        raise _unknown(
            text, found=found, hint="name the .gguf file itself, or a directory with config.json"
        )
    if _looks_like_path(text):
        raise _unknown(text, found="no such file", hint="check the path")
    if is_hub_reference(text):
        raise UnknownModel(
            "this model is not in the store",
            value=text,
            expected="a repository whose files are here",
            found=text,
            hint=f"`freehold pull {text}`",
        )
    raise _unknown(text, found="neither a file nor a known name")


def _looks_like_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text.endswith((".gguf", ".safetensors"))


def _unknown(text: str, *, found: str, hint: str = "`freehold pull starter`") -> UnknownModel:
    names = ", ".join(entry.name for entry in entries())
    return UnknownModel(
        "no model file behind this reference",
        value=text,
        expected=f"a path to a model file, or one of: {names}",
        found=found,
        hint=hint,
    )
