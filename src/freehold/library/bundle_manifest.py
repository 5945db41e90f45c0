"""A bundle's list of what it holds: its files with their digests, and its models' records.

Room: library. Plain data and its form in JSON, which is untrusted; must not touch a disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold import __version__
from freehold.errors import BadBundle, BadReference, FormatError
from freehold.formats.json_file import SMALL, parse_object
from freehold.library.held_record import Held, held_from
from freehold.library.names import SafeName, Sha256, check_distinct
from freehold.library.signing import PublicKey, Signature

__all__ = [
    "MANIFEST",
    "MAX_LIST_BYTES",
    "SIGNATURE",
    "BundleFile",
    "Manifest",
    "parse_manifest",
    "parse_signature",
    "signature_bytes",
]

MANIFEST = SafeName("manifest.json")
SIGNATURE = SafeName("manifest.sig")
MAX_LIST_BYTES = SMALL.max_bytes
_FORM = "freehold bundle 1"
_MAX_FILES = 5_000
_MAX_MODELS = 200


@dataclass(frozen=True, kw_only=True)
class BundleFile:
    """One file of a bundle, the only bytes that are accepted for it."""

    name: SafeName
    size_bytes: int
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything in a bundle. A model's files are those in the folder `models/KEY`."""

    files: tuple[BundleFile, ...]
    models: tuple[Held, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    def encoded(self) -> bytes:
        """The list as it is written and signed."""
        table = {
            "form": _FORM,
            "freehold": __version__,
            "models": [model.record() for model in self.models],
            "files": [
                {
                    "name": file.name.text,
                    "size_bytes": file.size_bytes,
                    "sha256": file.sha256.hex,
                }
                for file in self.files
            ],
        }
        return (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode()


def parse_manifest(raw: bytes) -> Manifest:
    """The list that bytes hold, every name and digest checked. Raises: BadBundle."""
    try:
        table = parse_object(Path(MANIFEST.text), raw, SMALL)
        models = _list(table, "models", _MAX_MODELS)
        manifest = Manifest(
            files=tuple(_file(entry) for entry in _list(table, "files", _MAX_FILES)),
            models=tuple(held_from(entry, folder=Path()) for entry in models),
        )
        check_distinct((MANIFEST, SIGNATURE, *(file.name for file in manifest.files)))
        _check_models(manifest)
    except (FormatError, BadReference) as error:
        raise _bad(error.expected or "a list", error.found or error.message) from error
    if table.get("form") != _FORM:
        raise _bad(_FORM, repr(table.get("form"))[:40])
    return manifest


def _check_models(manifest: Manifest) -> None:
    """That each file of a model is in the bundle, with the digest that its record has."""
    there = {file.name.text: (file.size_bytes, file.sha256) for file in manifest.files}
    keys = [model.key for model in manifest.models]
    if len(set(keys)) != len(keys):
        raise _bad("each model once", "one of them twice")
    for model in manifest.models:
        for file in model.files:
            name = f"models/{model.key}/{file.name}"
            if there.get(name) != (file.size_bytes, file.sha256):
                raise _bad(f"{name} as the model's record has it", "another file, or none")


def _list(table: Mapping[str, object], key: str, most: int) -> Sequence[dict[str, object]]:
    values = table.get(key)
    if not isinstance(values, list) or len(values) > most:
        raise _bad(f"a list of at most {most} {key}", "something else")
    if not all(isinstance(value, dict) for value in values):
        raise _bad(f"{key} as objects", "something else")
    return values


def _file(entry: Mapping[str, object]) -> BundleFile:
    name, size_bytes = entry.get("name"), entry.get("size_bytes")
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool) or size_bytes < 0:
        raise _bad("a size in bytes", repr(size_bytes)[:40])
    if not isinstance(name, str):
        raise _bad("the name of a file", repr(name)[:40])
    return BundleFile(
        name=SafeName(name), size_bytes=size_bytes, sha256=Sha256.parse(entry.get("sha256"))
    )


def signature_bytes(signature: Signature) -> bytes:
    """A signature as it is written."""
    return f"{signature.key}\n{signature.raw.hex()}\n".encode()


def parse_signature(raw: bytes) -> Signature:
    """The signature that bytes hold. Raises: BadBundle."""
    lines = raw.decode("ascii", "replace").splitlines()
    try:
        value = bytes.fromhex(lines[1]) if len(lines) == 2 else b""
    except ValueError:
        value = b""
    if len(value) != 64:
        raise _bad("a key and a signature of 64 bytes", f"{len(lines)} lines")
    return Signature(PublicKey.parse(lines[0]), value)


def _bad(expected: str, found: str) -> BadBundle:
    return BadBundle(
        "the bundle's list of files is not in order",
        expected=expected,
        found=found,
        hint="it is damaged or hostile; make it again with `freehold bundle`",
    )
