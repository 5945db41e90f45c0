"""Writes models, their terms and their deeds into one file or folder for machines without network.

Room: library. Copies bytes and hashes them on the way; must not know terminals.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from freehold.config import Settings
from freehold.errors import BadBundle, DigestMismatch, UnknownModel
from freehold.library.bundle_manifest import (
    MANIFEST,
    SIGNATURE,
    BundleFile,
    Manifest,
    signature_bytes,
)
from freehold.library.catalogue import entries
from freehold.library.deed import find_deed
from freehold.library.deed_export import deed_document
from freehold.library.hashing import Digests
from freehold.library.held import held_named, moment
from freehold.library.held_record import FILES, Held, HeldFile, Origin
from freehold.library.identity import identity_of
from freehold.library.names import ModelName, SafeName, Sha256
from freehold.library.progress import Progress
from freehold.library.publish import sync_folder
from freehold.library.record import open_record
from freehold.library.shelf import checked_path, folder_of
from freehold.library.signing import PublicKey, sign
from freehold.library.tar_stream import END, header_of, padding_of
from freehold.library.terms import subject_of
from freehold.library.terms.accepting import text_of
from freehold.library.wheels import PINNED, SUMS, Wheel, pins_of, sums_of

__all__ = ["Bundled", "make_bundle"]

Sources = dict[SafeName, Path | bytes]
"""What goes into a bundle, by its name there: a file, or bytes."""

_CHUNK_BYTES = 1 << 20
_READ_ME = """Models of Freehold, for a machine without network.

  freehold import THIS --trust KEY    verify everything, then take the models in

licences/ has the terms of each model, as far as they are known; deeds/ what is on record of it.
manifest.json lists every file with its size and sha256. manifest.sig is an ed25519 signature of
that list; without --trust it shows that nothing was altered since, but not who made it.
"""
_WHEELS = """
wheels/ has this program and all that it needs, for {python} on {machine}:

  (cd wheels && sha256sum -c SHA256SUMS)
  python3 -m pip install --no-index --find-links wheels --require-hashes -r wheels/requirements.txt
"""
_NO_LICENCE = """No licence of this model is known.{named}

Files called LICENSE beside its weights, if there are any, are its maker's own words.
"""


@dataclass(frozen=True, kw_only=True)
class Bundled:
    """What was written. `key` signed it, if one did."""

    manifest: Manifest
    key: PublicKey | None


def make_bundle(
    refs: Sequence[str],
    out: Path,
    *,
    settings: Settings,
    key_file: Path | None,
    progress: Progress,
    wheels: Sequence[Wheel] = (),
) -> Bundled:
    """Write the models of these references to `out`: one file if it ends in .tar, else a folder.

    Every byte is hashed again, and must be as recorded. `out` appears when it is whole. `wheels`
    come along, with their digests in the forms of pip and sha256sum.
    Raises: UnknownModel, DigestMismatch, BadBundle for an unusable key, FileExistsError, OSError.
    """
    models = {ref: _model(ref, settings) for ref in refs}
    sources: Sources = {SafeName("README.txt"): _read_me(wheels).encode()}
    sources |= _wheels(wheels)
    for ref, model in models.items():
        for file in model.files:
            name = SafeName(f"models/{model.key}/{file.name}")
            sources[name] = model.folder / file.name.text
        deed = _deed(ref, settings, progress)
        if deed is not None:
            sources[SafeName(f"deeds/{model.key}.json")] = deed
        sources |= _licences(ref, model, settings)
    manifest = _manifest(tuple(models.values()), wheels, sources)
    raw = manifest.encoded()
    signature = sign(raw, key_file) if key_file is not None else None
    head: Sources = {MANIFEST: raw}
    if signature is not None:
        head[SIGNATURE] = signature_bytes(signature)
    write = _write_tar if out.suffix == ".tar" else _write_folder
    write(out, head | sources, manifest, progress)
    return Bundled(manifest=manifest, key=signature.key if signature is not None else None)


def _model(ref: str, settings: Settings) -> Held:
    """A model of the store, as its record; `folder` is where its files are."""
    models_dir = settings.models_dir
    for entry in entries():
        if entry.name != ref or checked_path(entry, models_dir) is None:
            continue
        names = [SafeName(entry.stored_as(file)) for file in entry.files]
        return Held(
            name=ModelName(entry.name),
            origin=Origin(kind="file", place=entry.requirement),
            obtained_at=moment(),
            licence=entry.licence,
            model=names[0] if entry.folder is None else None,
            files=tuple(
                HeldFile(name=name, size_bytes=file.size_bytes, sha256=Sha256(file.sha256))
                for name, file in zip(names, entry.files, strict=True)
            ),
            folder=folder_of(entry, models_dir),
        )
    held = held_named(ref, models_dir)
    if held is None:
        raise UnknownModel(
            f"{ref!r} is not in the store",
            value=ref,
            expected="the name of a model as `freehold list` has it",
            found="nothing there",
            hint=f"`freehold pull {ref}`, or `freehold import PATH` for a file",
        )
    held.checked_path()
    files = tuple(dataclasses.replace(file, linked=False) for file in held.files)
    return dataclasses.replace(held, files=files, folder=held.folder / FILES)


def _deed(ref: str, settings: Settings, progress: Progress) -> bytes | None:
    """What the record says of a model, as plain JSON; None where it says nothing of it."""
    with open_record(settings) as events:
        try:
            deed, head = find_deed(
                ref,
                events,
                settings=settings,
                identify=lambda path: identity_of(path, home=settings.home, progress=progress),
            )
        except UnknownModel:
            return None
        return json.dumps(deed_document(deed, head), indent=1, ensure_ascii=False).encode()


def _licences(ref: str, model: Held, settings: Settings) -> Sources:
    """The texts of a model's licences, or a note that none is known; its own files come with it."""
    subject = subject_of(ref, settings=settings)
    texts = {one.id: text_of(subject, one) for one in subject.licences}
    said = {name: f"{text.text.rstrip()}\n\n-- from {text.where}\n" for name, text in texts.items()}
    if not said:
        named = f" It names {', '.join(subject.unread)}, whose text is not known here."
        said["unknown"] = _NO_LICENCE.format(named=named if subject.unread else "")
    folder = f"licences/{model.key}"
    return {SafeName(f"{folder}/{name}.txt"): text.encode() for name, text in said.items()}


def _read_me(wheels: Sequence[Wheel]) -> str:
    if not wheels:
        return _READ_ME
    python = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
    machine = f"{platform.system()} {platform.machine()}"
    return _READ_ME + _WHEELS.format(python=python, machine=machine)


def _wheels(wheels: Sequence[Wheel]) -> Sources:
    """The wheels, and the two lists that a machine without this program can check them by."""
    if not wheels:
        return {}
    lists: Sources = {
        SafeName(f"wheels/{PINNED}"): pins_of(wheels),
        SafeName(f"wheels/{SUMS}"): sums_of(wheels),
    }
    return lists | {SafeName(f"wheels/{wheel.path.name}"): wheel.path for wheel in wheels}


def _manifest(models: Sequence[Held], wheels: Sequence[Wheel], sources: Sources) -> Manifest:
    known: dict[SafeName, HeldFile | Wheel] = {
        SafeName(f"models/{model.key}/{file.name}"): file
        for model in models
        for file in model.files
    }
    known |= {SafeName(f"wheels/{wheel.path.name}"): wheel for wheel in wheels}
    files = []
    for name, source in sources.items():
        if isinstance(source, bytes):
            size_bytes, sha256 = len(source), Sha256(hashlib.sha256(source).hexdigest())
        else:
            size_bytes, sha256 = known[name].size_bytes, known[name].sha256
        files.append(BundleFile(name=name, size_bytes=size_bytes, sha256=sha256))
    return Manifest(files=tuple(files), models=tuple(models))


def _write_folder(out: Path, sources: Sources, manifest: Manifest, progress: Progress) -> None:
    if out.exists():
        raise _taken(out)
    staged = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(staged, ignore_errors=True)
    counted = _Counted(manifest, progress)
    try:
        for name, source in sources.items():
            place = staged / name.text
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as output:
                counted.copy(name, source, output)
                _to_disk(output)
        staged.replace(out)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    sync_folder(out.parent)


def _write_tar(out: Path, sources: Sources, manifest: Manifest, progress: Progress) -> None:
    if out.exists():
        raise _taken(out)
    staged = out.with_name(f".{out.name}.unfinished")
    counted = _Counted(manifest, progress)
    try:
        with staged.open("wb") as output:
            for name, source in sources.items():
                size_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
                output.write(header_of(name, size_bytes))
                counted.copy(name, source, output)
                output.write(padding_of(size_bytes))
            output.write(END)
            _to_disk(output)
        staged.replace(out)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    sync_folder(out.parent)


def _to_disk(output: BinaryIO) -> None:
    output.flush()
    os.fsync(output.fileno())


def _taken(out: Path) -> BadBundle:
    return BadBundle(
        f"there is something at {out} already",
        value=str(out),
        expected="a name that is free",
        found="a folder" if out.is_dir() else "a file",
        hint="choose another --out, or delete it first",
    )


class _Counted:
    """Copies files, and holds each to the digest that the list has."""

    def __init__(self, manifest: Manifest, progress: Progress) -> None:
        self._pinned = {file.name: file for file in manifest.files}
        self._total, self._done = manifest.size_bytes, 0
        self._progress = progress

    def copy(self, name: SafeName, source: Path | bytes, output: BinaryIO) -> None:
        """Write one file's bytes. Raises: DigestMismatch, DiskFull, OSError."""
        if isinstance(source, bytes):
            output.write(source)
            return
        pinned = self._pinned[name]
        digests = Digests(size_bytes=pinned.size_bytes, digest=pinned.sha256)
        with source.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digests.update(chunk)
                output.write(chunk)
                self._done += len(chunk)
                self._progress("verify", self._done, self._total)
        wrong = digests.mismatch()
        if wrong is not None:
            raise DigestMismatch(
                f"a file is not what it was when it came: {source}",
                value=str(source),
                expected=wrong[0],
                found=wrong[1],
                hint="get the model again; no bundle was written",
            )
