"""What is known of a model in the store: where it is from, its files, their digests.

Room: library. Plain data and its form in JSON; must not touch a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from freehold.errors import BadReference, DigestMismatch
from freehold.library.names import (
    Commit,
    HubReference,
    ModelName,
    Quant,
    RepoId,
    Revision,
    SafeName,
    Sha256,
    check_distinct,
)

__all__ = ["FILES", "MAX_FILES", "Held", "HeldFile", "Kind", "Origin", "held_from"]

Kind = Literal["hub", "file", "directory", "ollama"]
_KINDS: tuple[Kind, ...] = ("hub", "file", "directory", "ollama")
_FORMAT = 1
_T = TypeVar("_T")

FILES = "files"
"""The folder, inside a model's, that has its files and nothing else."""

MAX_FILES = 2_000
"""The most files a model may have: several times what any published one has."""


@dataclass(frozen=True, kw_only=True)
class HeldFile:
    """One file: its name below `files`, its size and its sha256. `linked` where another owns it."""

    name: SafeName
    size_bytes: int
    sha256: Sha256
    linked: bool = False


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model is from; the fields of a repository are None for what was imported."""

    kind: Kind
    place: str
    repo: RepoId | None = None
    quant: Quant | None = None
    revision: Revision | None = None
    commit: Commit | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """A model in the store.

    `model` is the file to open, or None for a directory. `licence` is what its source declares.
    """

    name: ModelName | None
    origin: Origin
    obtained_at: str
    licence: str | None
    model: SafeName | None
    files: tuple[HeldFile, ...]
    folder: Path = Path()

    @property
    def ref(self) -> str:
        """The shortest reference that names the model: its name, or `org/name:quant`."""
        if self.name is not None:
            return self.name.text
        return str(HubReference(self.origin.repo, self.origin.quant)) if self.origin.repo else "?"

    @property
    def key(self) -> str:
        """The name of its folder."""
        if self.name is not None:
            return f"named--{self.name}"
        origin = self.origin
        if origin.repo is None or origin.quant is None or origin.commit is None:
            raise BadReference(
                "this record names no model",
                value=origin.place,
                expected="a name, or a repository with its commit",
                found="neither",
                hint="the record is damaged",
            )
        return f"hub--{origin.repo.key}--{origin.quant.key}--{origin.commit.hex[:12]}"

    @property
    def path(self) -> Path:
        """What to open: the file, or the directory."""
        files = self.folder / FILES
        return files / self.model.text if self.model is not None else files

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def weights(self) -> HeldFile:
        """The file to open, or the largest of a directory."""
        return next(
            (file for file in self.files if file.name == self.model),
            max(self.files, key=lambda file: file.size_bytes),
        )

    def checked_path(self) -> Path:
        """The path, where every file has its recorded size. Raises: DigestMismatch."""
        for file in self.files:
            path = self.folder / FILES / file.name.text
            size_bytes = path.stat().st_size if path.is_file() else None
            if size_bytes != file.size_bytes:
                gone = "nothing there" + (": its link leads nowhere" if file.linked else "")
                raise DigestMismatch(
                    f"a file of {self.ref!r} is damaged: {path}",
                    value=str(path),
                    expected=f"{file.size_bytes} bytes",
                    found=gone if size_bytes is None else f"{size_bytes} bytes",
                    hint=f"`freehold rm {self.ref}`, then get it again",
                )
        return self.path

    def record(self) -> dict[str, object]:
        """The record as it is written: plain JSON."""
        origin = self.origin
        return {
            "format": _FORMAT,
            "name": _text(self.name),
            "origin": {
                "kind": origin.kind,
                "place": origin.place,
                "repo": _text(origin.repo),
                "quant": _text(origin.quant),
                "revision": _text(origin.revision),
                "commit": _text(origin.commit),
            },
            "obtained_at": self.obtained_at,
            "licence": self.licence,
            "model": _text(self.model),
            "files": [
                {
                    "name": file.name.text,
                    "size_bytes": file.size_bytes,
                    "sha256": file.sha256.hex,
                    "linked": file.linked,
                }
                for file in self.files
            ],
        }


def held_from(table: Mapping[str, object], *, folder: Path) -> Held:
    """The model that a record describes. Raises: BadReference for anything out of order."""
    origin = _table(table.get("origin"))
    files = tuple(_file(entry) for entry in _list(table.get("files")))
    check_distinct(file.name for file in files)
    kind = next((kind for kind in _KINDS if kind == origin.get("kind")), None)
    model = _optional(table.get("model"), SafeName)
    named = model is None or model in {file.name for file in files}
    if table.get("format") != _FORMAT or kind is None or not files or not named:
        raise _damaged("a record of form 1 with a known origin and its files")
    return Held(
        name=_optional(table.get("name"), ModelName),
        origin=Origin(
            kind=kind,
            place=_string(origin.get("place")) or "",
            repo=_optional(origin.get("repo"), RepoId),
            quant=_optional(origin.get("quant"), Quant),
            revision=_optional(origin.get("revision"), Revision),
            commit=_optional(origin.get("commit"), Commit),
        ),
        obtained_at=_string(table.get("obtained_at")) or "",
        licence=_string(table.get("licence")),
        model=model,
        files=files,
        folder=folder,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _damaged(expected: str) -> BadReference:
    return BadReference(
        "the record of a model cannot be read",
        value="record",
        expected=expected,
        found="something else",
        hint="delete the folder and get the model again",
    )


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _damaged("an object")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > MAX_FILES:
        raise _damaged(f"a list of at most {MAX_FILES} files")
    return value


def _string(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.isprintable()):
        raise _damaged("a line of text")
    return value


def _named(value: object, kind: Callable[[str], _T]) -> _T:
    if not isinstance(value, str):
        raise _damaged("a text")
    return kind(value)


def _optional(value: object, kind: Callable[[str], _T]) -> _T | None:
    return None if value is None else _named(value, kind)


def _file(value: object) -> HeldFile:
    entry = _table(value)
    size_bytes = entry.get("size_bytes")
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool) or size_bytes < 0:
        raise _damaged("a size in bytes")
    return HeldFile(
        name=_named(entry.get("name"), SafeName),
        size_bytes=size_bytes,
        sha256=_named(entry.get("sha256"), Sha256),
        linked=entry.get("linked") is True,
    )
