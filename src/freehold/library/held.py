"""The models that were pulled from a hub or imported: a folder and a record for each.

Room: library. Knows folders; must not know how a file came or how it is read.

`held/KEY/record.json` says what the model is and where it is from; `held/KEY/files` has its files
and nothing else. The folder appears in one rename, after every digest matched.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from freehold.errors import BadReference, FormatError, UnknownModel
from freehold.formats.json_file import read_json_object
from freehold.library.held_record import FILES, Held, held_from
from freehold.library.names import DEFAULT_QUANT, HubReference, ModelName, is_hub_reference
from freehold.library.publish import sync_folder

__all__ = [
    "find_held",
    "find_named",
    "held_models",
    "held_named",
    "moment",
    "publish_held",
    "remove_held",
]

_RECORD = "record.json"


def _shelf(models_dir: Path) -> Path:
    return models_dir / "held"


def moment() -> str:
    """Now, as a record has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def held_models(models_dir: Path) -> tuple[Held, ...]:
    """Every model in the store but the catalogue's, the latest first.

    Raises: BadReference for a record that cannot be read, naming its folder.
    """
    shelf = _shelf(models_dir)
    folders = sorted(shelf.iterdir()) if shelf.is_dir() else []
    held = [_read(folder) for folder in folders if (folder / _RECORD).is_file()]
    return tuple(sorted(held, key=lambda one: (one.obtained_at, one.key), reverse=True))


def _read(folder: Path) -> Held:
    try:
        held = held_from(read_json_object(folder / _RECORD), folder=folder)
        if held.key != folder.name:
            raise BadReference("", expected=f"the record of {folder.name}", found=held.key)
        return held
    except (FormatError, BadReference) as error:
        raise BadReference(
            f"the record of a model is damaged: {folder / _RECORD}",
            value=str(folder),
            expected=error.expected,
            found=error.found,
            hint="delete the folder, and get the model again",
        ) from error


def find_held(reference: HubReference, models_dir: Path) -> Held | None:
    """The model that a reference names: the latest where it leaves the commit or the files open.

    Raises: UnknownModel when it leaves open which of several quantizations is meant.
    """
    repo, quant, revision = reference.repo, reference.quant, reference.revision
    fitting = [
        held
        for held in held_models(models_dir)
        if held.name is None
        and held.origin.repo is not None
        and held.origin.repo.key == repo.key
        and (quant is None or _quant(held) == quant.key)
        and (revision is None or revision.text in _revisions(held))
    ]
    # Without a word after the colon, the same default as a pull has.
    usual = [held for held in fitting if _quant(held) == DEFAULT_QUANT.key]
    fitting = usual if quant is None and usual else fitting
    quants = dict.fromkeys(_quant(held) for held in fitting)
    if len(quants) > 1:
        raise UnknownModel(
            f"several files of {repo} are here",
            value=str(reference),
            expected=" or ".join(f"{repo}:{quant}" for quant in quants),
            found=str(reference),
            hint="name the one that is meant",
        )
    return fitting[0] if fitting else None


def _quant(held: Held) -> str:
    return held.origin.quant.key if held.origin.quant else ""


def _revisions(held: Held) -> set[str]:
    """The ways to name the state of the repository that a model is from."""
    commit = held.origin.commit.hex if held.origin.commit else ""
    return {str(held.origin.revision), commit, commit[:12], commit[:8], commit[:7]}


def find_named(name: str, models_dir: Path) -> Held | None:
    """The imported model of this name, if there is one."""
    try:
        key = f"named--{ModelName(name)}"
    except BadReference:
        return None
    folder = _shelf(models_dir) / key
    return _read(folder) if (folder / _RECORD).is_file() else None


def held_named(text: str, models_dir: Path) -> Held | None:
    """The model of this name, or of this repository, if it is in the store.

    Raises: BadReference, UnknownModel as `find_held`.
    """
    held = find_named(text, models_dir)
    if held is None and is_hub_reference(text):
        held = find_held(HubReference.parse(text), models_dir)
    return held


def publish_held(held: Held, *, staged: Path, models_dir: Path) -> Held:
    """Write the record beside the staged files and put both in their place in one rename.

    `staged` holds a folder `files` and lies in the store.
    Raises: BadReference when the place is taken. Mutates: moves `staged` away.
    """
    target = _shelf(models_dir) / held.key
    record = staged / _RECORD
    with record.open("w", encoding="utf-8") as output:
        output.write(json.dumps(held.record(), indent=2, ensure_ascii=False) + "\n")
        output.flush()
        os.fsync(output.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    for folder in [staged, *(path for path in staged.rglob("*") if path.is_dir())]:
        sync_folder(folder)
    if target.exists():
        raise BadReference(
            f"something else is where {held.ref!r} belongs: {target}",
            value=str(target),
            expected="nothing there",
            found="a folder",
            hint=f"`freehold rm {held.ref}`, or choose another --name",
        )
    staged.replace(target)
    sync_folder(target.parent)
    return dataclasses.replace(held, folder=target)


def remove_held(held: Held) -> int:
    """Delete a model's folder and return the bytes that freed: linked files free none."""
    if not held.folder.is_dir():
        raise UnknownModel(
            f"{held.ref!r} is not in the store",
            value=held.ref,
            expected=f"a folder at {held.folder}",
            found="nothing there",
            hint="`freehold list` shows what is present",
        )
    files = [path for path in (held.folder / FILES).rglob("*") if not path.is_symlink()]
    freed_bytes = sum(
        path.stat().st_size for path in files if path.is_file() and path.stat().st_nlink == 1
    )
    shutil.rmtree(held.folder)
    return freed_bytes
