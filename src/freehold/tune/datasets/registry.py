"""The datasets of a house: taken in with the reason why they may be used, kept, and withdrawn.

Room: tune. Bytes lie in the home by their digest, facts in the database, what happened in the
record. Must not know torch or terminals.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.errors import BadDataset, BadRequest, DiskFull, NotAdmitted, NotFound
from freehold.library.progress import Progress, silent
from freehold.library.record import record_dataset_admitted, record_dataset_withdrawn
from freehold.store.datasets import BASES, Dataset
from freehold.tune.datasets.checking import check_enough
from freehold.tune.datasets.reading import read_examples

if TYPE_CHECKING:
    from freehold.store import Event, Store

__all__ = ["BASES", "LOCAL", "Admitted", "Grounds", "Registry", "Taught", "digest_of"]

LOCAL = "local"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.I)
_SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
_CHUNK_BYTES = 1 << 20
_KEPT_FREE_BYTES = 256 << 20
_MOST_WORDS = 2000


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """Why data may be trained on: its basis, under which licence, where it is from.

    `consent` says where consent is written down; a basis of consent needs it.
    """

    basis: str
    licence: str
    provenance: str
    consent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A dataset that may be trained on: its file, and how that is read."""

    name: str
    digest: str
    path: Path
    form: str
    mapping: Mapping[str, str] | None


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Weights that learned from a dataset, by what the record says."""

    name: str
    digest: str
    location: str
    at: str


class Registry:
    """The datasets of one owner."""

    def __init__(self, store: Store, home: Path, *, owner: str = LOCAL) -> None:
        self._store, self._owner = store, owner
        self._folder = home / "datasets" / owner

    def add(  # noqa: PLR0913 - each by its name
        self,
        name: str,
        path: Path,
        grounds: Grounds,
        *,
        form: str = "auto",
        mapping: Mapping[str, str] | None = None,
        parents: tuple[str, ...] = (),
        facts: Mapping[str, Any] | None = None,
        progress: Progress = silent,
    ) -> Dataset:
        """Take in a file: read all of it, copy it, write down the grounds.

        Raises: BadDataset for a line that is none, too little data or a name that cannot be;
        NotAdmitted without grounds, or for bytes that were withdrawn; BadRequest for a name that is
        taken; DiskFull; OSError.
        """
        _check_name(name)
        _check_grounds(grounds)
        if self._store.datasets.get(name, owner=self._owner) is not None:
            raise BadRequest(
                f"a data set is called {name!r} already",
                param="name",
                value=name,
                hint=f"take another name, or `freehold dataset rm {name}` first",
            )
        digest = digest_of(path, progress)
        if self._store.datasets.is_withdrawn(digest):
            raise NotAdmitted(
                "these very bytes were withdrawn", value=digest, hint="take the data out that was"
            )
        rows = sum(1 for _ in read_examples(path, form=form, mapping=mapping))
        check_enough(rows)
        kept = self._copy(path, digest)
        dataset = Dataset(
            owner=self._owner,
            name=name,
            digest=digest,
            rows=rows,
            tokens=None,
            form=form,
            licence=grounds.licence,
            basis=grounds.basis,
            consent=grounds.consent,
            provenance=grounds.provenance,
            created_at=time.time(),
            facts={
                "file": kept.name,
                "bytes": kept.stat().st_size,
                "source": path.name,
                "mapping": dict(mapping) if mapping else None,
                **(facts or {}),
            },
        )
        self._store.datasets.put(dataset)
        record_dataset_admitted(self._store.events, dataset, parents=parents)
        return dataset

    def close(self) -> None:
        """Closes the store under it. Raises: StoreUnusable."""
        self._store.close()

    def all(self) -> list[Dataset]:
        """All of them, the oldest first, withdrawn ones too."""
        return self._store.datasets.list(owner=self._owner)

    def get(self, name: str) -> Dataset:
        """The one of this name. Raises: NotFound."""
        found = self._store.datasets.get(name, owner=self._owner)
        if found is None:
            names = ", ".join(one.name for one in self.all()[:20])
            raise NotFound(
                f"there is no data set called {name!r}",
                value=name,
                expected=names or "a data set that was added",
                hint="`freehold dataset add FILE --name NAME --basis ...` takes one in",
            )
        return found

    def admitted(self, name: str) -> Admitted:
        """The one of this name, to be trained on.

        Raises: NotFound; NotAdmitted when it was withdrawn; BadDataset when its bytes have changed.
        """
        found = self.get(name)
        if found.withdrawn_at is not None or self._store.datasets.is_withdrawn(found.digest):
            raise NotAdmitted(
                f"the data set {name!r} was withdrawn: nothing is trained on it any more",
                value=name,
                hint=f"`freehold dataset show {name}` lists what was trained on it before",
            )
        path = self.path(found)
        if not path.is_file() or digest_of(path) != found.digest:
            raise BadDataset(
                f"the file of the data set {name!r} is not the one that was taken in",
                value=name,
                expected=found.digest,
                found="other bytes" if path.is_file() else "no file",
                hint="remove it and add it again",
            )
        mapping = found.facts.get("mapping")
        return Admitted(name=name, digest=found.digest, path=path, form=found.form, mapping=mapping)

    def path(self, dataset: Dataset) -> Path:
        """Where a dataset's bytes lie."""
        return self._folder / Path(str(dataset.facts["file"])).name

    def withdraw(self, name: str, *, reason: str = "") -> tuple[Dataset, list[Taught]]:
        """From now on nothing is trained on it or its parts; gives what has learned from it.

        Raises: NotFound.
        """
        self.get(name)
        found = self._store.datasets.withdraw(name, owner=self._owner)
        assert found is not None, "it was there"
        for part in self._parts(found.digest):
            self._store.datasets.withdraw(part.name, owner=self._owner)
        taught = self.taught(found)
        record_dataset_withdrawn(
            self._store.events, found, reason=reason, taught=[one.digest for one in taught]
        )
        return found, taught

    def remove(self, name: str) -> Dataset:
        """Delete its bytes and its entry; the record stays. Raises: NotFound, NotAdmitted.

        A withdrawn one is kept as an entry, since it is what refuses its bytes; its file goes.
        """
        found = self.get(name)
        others = [one for one in self.all() if one.digest == found.digest and one.name != name]
        if not others:
            self.path(found).unlink(missing_ok=True)
        if found.withdrawn_at is None:
            self._store.datasets.delete(name, owner=self._owner)
        return found

    def taught(self, dataset: Dataset) -> list[Taught]:
        """The weights that learned from it or from parts of it, by the record's parents."""
        digests = {dataset.digest, *(part.digest for part in self._parts(dataset.digest))}
        events = self._store.events.all()
        return [_taught(e) for e in events if e.kind == "tuned" and digests & set(e.parents)]

    def _parts(self, digest: str) -> list[Dataset]:
        """The datasets that were made from this one, as the record says."""
        made = {
            event.subject
            for event in self._store.events.all()
            if event.kind == "dataset_admitted" and digest in event.parents
        }
        return [one for one in self.all() if one.digest in made]

    def _copy(self, path: Path, digest: str) -> Path:
        """The bytes in the home, whole or not at all, for their owner alone."""
        suffix = path.suffix.lower() if path.suffix.lower() in _SUFFIXES else ".jsonl"
        place = self._folder / f"{digest.removeprefix('sha256:')}{suffix}"
        if place.is_file():
            return place
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        size, free = path.stat().st_size, shutil.disk_usage(self._folder).free
        if free < size + _KEPT_FREE_BYTES:
            raise DiskFull(
                "the disk has no room for the data set",
                value=str(self._folder),
                expected=f"{size + _KEPT_FREE_BYTES} bytes free",
                found=f"{free} bytes",
            )
        part = place.with_name(f".{place.name}.{os.getpid()}.part")
        try:
            with path.open("rb") as source, part.open("xb") as target:
                part.chmod(0o600)
                shutil.copyfileobj(source, target, _CHUNK_BYTES)
                target.flush()
                os.fsync(target.fileno())
            if digest_of(part) != digest:
                raise BadDataset("the file changed while it was read", hint="add it again")
            part.replace(place)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return place


def digest_of(path: Path, progress: Progress = silent) -> str:
    """The digest of a file's bytes, as "sha256:" and 64 digits. Raises: OSError."""
    made, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            made.update(piece)
            done += len(piece)
            progress("verify", done, size)
    return f"sha256:{made.hexdigest()}"


def _taught(event: Event) -> Taught:
    body = event.body
    return Taught(
        name=str(body.get("name", "")),
        digest=event.subject,
        location=str(body.get("location", "")),
        at=event.at,
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadDataset(
            "this cannot be a data set's name",
            value=name[:80],
            expected="letters, digits, '.', '_' and '-', at most 64",
            found=repr(name[:80]),
        )


def _check_grounds(grounds: Grounds) -> None:
    if grounds.basis not in BASES:
        raise NotAdmitted(
            "nothing says why this data may be trained on",
            value=grounds.basis or None,
            expected=", ".join(BASES),
            found=repr(grounds.basis) if grounds.basis else "no basis",
            hint="--basis",
        )
    needed = {"licence": grounds.licence, "provenance": grounds.provenance}
    if grounds.basis == "consent":
        needed["consent"] = grounds.consent or ""
    for what, said in needed.items():
        if not said.strip() or len(said) > _MOST_WORDS:
            raise NotAdmitted(
                f"the {what} of this data is not recorded",
                value=what,
                expected=f"some words, at most {_MOST_WORDS} characters",
                found="none" if not said.strip() else f"{len(said)} characters",
                hint=f"--{what}",
            )
