"""What lies beside an adapter: from what it was made, and how conversations were rendered then.

Room: tune. Knows the small file `freehold.json`, which comes from anywhere; must not know weights.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold import __version__
from freehold.errors import BadValue
from freehold.formats.json_file import read_json_object
from freehold.tune.fingerprint import Fingerprint, Probe

__all__ = ["PROVENANCE", "Provenance", "read_provenance", "write_provenance"]

PROVENANCE = "freehold.json"

_FORM = 1
_MOST_PROBES = 64
_MOST_TOKENS = 1 << 14
_MOST_DATASETS = 256
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What an adapter's `freehold.json` says: from what it was made, and how that was rendered.

    Digests are "sha256:" and 64 digits. `training` is the trainer's own, as plain JSON.
    """

    base: str
    base_name: str
    datasets: tuple[str, ...]
    fingerprint: Fingerprint
    training: Mapping[str, Any] = field(default_factory=dict)


def write_provenance(directory: Path, said: Provenance) -> Path:
    """Writes `freehold.json`, whole or not at all. Raises: OSError."""
    path = directory / PROVENANCE
    body = {
        "form": _FORM,
        "with": f"freehold {__version__}",
        "base": {"digest": said.base, "name": said.base_name},
        "datasets": list(said.datasets),
        "rendering": {
            "template_sha256": said.fingerprint.template,
            "vocabulary_sha256": said.fingerprint.vocabulary,
            "probes": [_probe_facts(probe) for probe in said.fingerprint.probes],
        },
        "training": dict(said.training),
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(body, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def read_provenance(directory: Path) -> Provenance | None:
    """What lies beside an adapter; None for one that others trained. Raises: FormatError."""
    path = directory / PROVENANCE
    if not path.is_file():
        return None
    fields = _Fields(path, read_json_object(path))
    if fields.get("form", int) != _FORM:
        raise fields.bad("form", f"{_FORM}, the one that this version reads")
    base, rendering = fields.inner("base"), fields.inner("rendering")
    return Provenance(
        base=base.digest("digest"),
        base_name=base.get("name", str)[:256],
        datasets=tuple(fields.each("datasets", _MOST_DATASETS, lambda one: one.digest(""))),
        fingerprint=Fingerprint(
            template=rendering.digest("template_sha256"),
            vocabulary=rendering.digest("vocabulary_sha256"),
            probes=tuple(rendering.each("probes", _MOST_PROBES, _read_probe)),
        ),
        training=fields.get("training", dict),
    )


def _probe_facts(probe: Probe) -> dict[str, Any]:
    if probe.refused:
        return {"name": probe.name, "refused": probe.refused}
    return {"name": probe.name, "ids": list(probe.ids), "learned": [list(r) for r in probe.learned]}


def _read_probe(fields: _Fields) -> Probe:
    name = fields.get("name", str)[:256]
    if "refused" in fields.said:
        return Probe(name=name, refused=fields.get("refused", str)[:256])
    ids = fields.get("ids", list)
    runs = fields.get("learned", list)
    if len(ids) > _MOST_TOKENS or not all(type(one) is int and 0 <= one < 1 << 31 for one in ids):
        raise fields.bad("ids", f"at most {_MOST_TOKENS} ids of tokens")
    fits = len(runs) <= len(ids) and all(
        isinstance(run, list) and len(run) == 2 and all(type(end) is int for end in run)
        for run in runs
    )
    if not fits:
        raise fields.bad("learned", "pairs of places")
    return Probe(name=name, ids=tuple(ids), learned=tuple((a, b) for a, b in runs))


class _Fields:
    """An object of the file, whose fields are of the types that are asked for."""

    def __init__(self, path: Path, said: Mapping[str, Any], at: str = "") -> None:
        self.path, self.said, self.at = path, said, at

    def get(self, key: str, kind: type[Any]) -> Any:
        """A field. Raises: BadValue."""
        found = self.said.get(key)
        if type(found) is not kind:
            raise self.bad(key, kind.__name__)
        return found

    def digest(self, key: str) -> str:
        """64 hexadecimal digits, perhaps after "sha256:". Raises: BadValue."""
        found = self.get(key, str)
        if not _DIGEST.fullmatch(found):
            raise self.bad(key, "a sha256")
        return str(found)

    def inner(self, key: str) -> _Fields:
        """An object within. Raises: BadValue."""
        return _Fields(self.path, self.get(key, dict), f"{self.at}{key}.")

    def each(self, key: str, most: int, read: Callable[[_Fields], Any]) -> list[Any]:
        """A list of objects, or of values under the key "". Raises: BadValue."""
        found = self.get(key, list)
        if len(found) > most:
            raise self.bad(key, f"at most {most} entries")
        return [
            read(
                _Fields(self.path, one if isinstance(one, dict) else {"": one}, f"{self.at}{key}.")
            )
            for one in found
        ]

    def bad(self, key: str, expected: str) -> BadValue:
        """The error for a field."""
        found = self.said.get(key)
        return BadValue(
            "the record of the adapter's training cannot be read",
            path=self.path,
            field=f"{self.at}{key}".rstrip("."),
            expected=expected,
            found="nothing" if found is None else type(found).__name__,
            hint="the file is damaged, or of another version",
        )
