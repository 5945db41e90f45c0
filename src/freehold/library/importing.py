"""Takes a model that is on this machine into the store: a file, a directory, one of Ollama's.

Room: library. The order of the steps; must not know how a format is read. Nothing is published
before every file was hashed and opened, and what could run code is refused.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from freehold.config import Settings
from freehold.errors import BadReference, DigestMismatch, UnknownModel
from freehold.library.catalogue import entries
from freehold.library.hashing import hash_file
from freehold.library.held import find_named, moment, publish_held
from freehold.library.held_events import write_down
from freehold.library.held_record import FILES, Held, HeldFile, Kind, Origin
from freehold.library.hub_fetch import disk_full
from freehold.library.identity import files_of
from freehold.library.locking import only_one
from freehold.library.names import ModelName, SafeName, Sha256, check_distinct
from freehold.library.nearby import take
from freehold.library.ollama_models import ollama_model
from freehold.library.opening import check_opens
from freehold.library.progress import Progress
from freehold.library.selection import is_companion, is_weights_of_directory
from freehold.library.shelf import staging_dir
from freehold.library.terms import subject_of

__all__ = ["Keep", "import_model"]

Keep = Literal["share", "copy", "link"]
"""Share the bytes with the file on the same file system and copy them else; copy; or refer."""

_OLLAMA = "ollama:"
_MARGIN_BYTES = 16 << 20
_CODE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".onnx", ".py")


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A model where it is now. `digests` of the files whose owner knows them."""

    kind: Kind
    place: str
    name: str
    model: SafeName | None
    files: dict[SafeName, Path]
    digests: dict[SafeName, Sha256]


def import_model(
    source: str,
    *,
    settings: Settings,
    name: str | None = None,
    keep: Keep = "share",
    progress: Progress,
) -> Held:
    """Take a model in under a name: a path, or `ollama:NAME[:TAG]`. It is in the record then.

    Raises: UnknownModel, BadReference for what is no model or a taken name, FormatError,
    DigestMismatch, DiskFull, OSError.
    """
    found = _find(source)
    called = ModelName(name) if name is not None else ModelName.from_file(found.name)
    models_dir = settings.models_dir
    _check_name(called, models_dir)
    if found.kind != "ollama":  # so that an error names what was given, not its copy
        check_opens(Path(found.place))
    staging = staging_dir(models_dir)
    staging.mkdir(parents=True, exist_ok=True)
    with only_one(staging / f"named--{called}.lock", waiting=lambda: progress("wait", 0, 0)):
        _check_name(called, models_dir)
        with tempfile.TemporaryDirectory(prefix=f"named--{called}-", dir=staging) as folder:
            staged = Path(folder) / "model"
            held = Held(
                name=called,
                origin=Origin(kind=found.kind, place=found.place),
                obtained_at=moment(),
                licence=None,
                model=found.model,
                files=_taken(found, staged / FILES, keep, progress),
                folder=staged,
            )
            check_opens(held.path)
            held = replace(held, licence=_stated_licence(held.path, settings))
            held = publish_held(held, staged=staged, models_dir=models_dir)
        write_down(held, settings=settings, progress=progress)
    return held


def _stated_licence(path: Path, settings: Settings) -> str | None:
    """The licences that a model's header, card or licence file state; None where none does."""
    subject = subject_of(path, settings=settings)
    return " AND ".join([*(one.id for one in subject.licences), *subject.unread]) or None


def _check_name(name: ModelName, models_dir: Path) -> None:
    known = name.text in {entry.name for entry in entries()}
    if known or find_named(name.text, models_dir) is not None:
        raise BadReference(
            f"there is a model called {name.text!r} already",
            value=name.text,
            expected="a name that no other model has",
            found="one of the catalogue" if known else "one in the store",
            hint=f"pass another --name, or `freehold rm {name}` first",
        )


def _find(source: str) -> _Found:
    if source.startswith(_OLLAMA):
        return _of_ollama(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return _of_directory(path)
    if not path.is_file():
        raise UnknownModel(
            "there is nothing to import",
            value=source,
            expected="a .gguf file, a directory of safetensors, or ollama:NAME",
            found="no such file",
            hint="check the path; `freehold pull org/name` fetches from a hub",
        )
    if path.suffix != ".gguf":
        raise _no_model(path, path.name)
    files = {SafeName(name): file for name, file in files_of(path).items()}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise BadReference(
            "a part of this split model is missing",
            value=str(path),
            expected=missing[0],
            found="nothing there",
            hint="bring all parts into one folder",
        )
    return _Found(
        kind="file",
        place=str(path.absolute()),
        name=path.stem,
        model=next(iter(files)),
        files=files,
        digests={},
    )


def _of_directory(path: Path) -> _Found:
    files: dict[SafeName, Path] = {}
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path).as_posix()
        if len(relative.split("/")) > 2 or relative.startswith(".") or not file.is_file():
            continue
        try:
            name = SafeName(relative)
        except BadReference:
            continue  # no name of a file that a model needs
        if is_companion(name) or is_weights_of_directory(name):
            files[name] = file
    if not any(name.text.endswith(".safetensors") for name in files):
        there = sorted(file.name for file in path.iterdir())
        raise _no_model(path, next((n for n in there if n.endswith(_CODE)), ", ".join(there[:8])))
    return _Found(
        kind="directory",
        place=str(path.absolute()),
        name=path.resolve().name,
        model=None,
        files=files,
        digests={},
    )


def _of_ollama(source: str) -> _Found:
    found = ollama_model(source.removeprefix(_OLLAMA))
    model = SafeName(f"{found.name}.gguf")
    files, digests = {model: found.weights}, {model: found.sha256}
    for number, (path, digest) in enumerate(found.licences):
        name = SafeName("LICENSE" if number == 0 else f"LICENSE-{number + 1}")
        files[name], digests[name] = path, digest
    return _Found(
        kind="ollama", place=source, name=found.name, model=model, files=files, digests=digests
    )


def _no_model(path: Path, found: str) -> BadReference:
    runs = found.endswith(_CODE)
    return BadReference(
        "this form can run code when it is loaded, and is never taken in"
        if runs
        else f"there is no model here: {path}",
        value=str(path),
        expected="a .gguf file, or a directory with model.safetensors",
        found=found or "an empty directory",
        hint="save the weights as safetensors first"
        if runs
        else "name the file itself, or the directory that holds config.json",
    )


def _taken(found: _Found, target: Path, keep: Keep, progress: Progress) -> tuple[HeldFile, ...]:
    """Every file at its place below `target`, hashed there. Raises: DigestMismatch, DiskFull."""
    check_distinct(found.files)
    sources = {name: path.resolve() for name, path in found.files.items()}
    total, done = sum(path.stat().st_size for path in sources.values()), 0

    def passed(count: int) -> None:
        nonlocal done
        done += count
        progress("verify", done, total)

    files = []
    for name, source in sources.items():
        place = target / name.text
        place.parent.mkdir(parents=True, exist_ok=True)
        _put(source, place, keep)
        size_bytes, digest = source.stat().st_size, found.digests.get(name)
        digests = hash_file(place, size_bytes=size_bytes, digest=digest, passed=passed)
        wrong = digests.mismatch()
        if wrong is not None:
            raise DigestMismatch(
                f"{source} is not what its store says, or changed meanwhile",
                value=str(source),
                expected=wrong[0],
                found=wrong[1],
                hint="nothing was taken in; get the file again",
            )
        linked = place.is_symlink()
        files.append(
            HeldFile(name=name, size_bytes=size_bytes, sha256=digests.sha256, linked=linked)
        )
    return tuple(files)


def _put(source: Path, place: Path, keep: Keep) -> None:
    """The file at its place, in the way that was asked for. Raises: DiskFull, OSError."""
    if keep == "link":
        place.symlink_to(source)
        return
    needed, free = source.stat().st_size + _MARGIN_BYTES, shutil.disk_usage(place.parent).free
    is_copied = keep == "copy" or source.stat().st_dev != place.parent.stat().st_dev
    if is_copied and free < needed:
        raise disk_full(str(source), place.parent, needed, f"{free / 1e6:.0f} MB free")
    try:
        if keep == "copy":
            shutil.copyfile(source, place)
        else:
            take(source, place, across="copy")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise disk_full(str(source), place.parent, needed, error.strerror or "full") from error
