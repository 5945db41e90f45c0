"""A bundle is taken in whole and verified, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from freehold.config import Settings
from freehold.errors import BadBundle, FreeholdError
from freehold.library import held_models, resolve
from freehold.library.importing import import_model
from freehold.library.names import SafeName
from freehold.library.tar_stream import END, header_of, padding_of
from tests.library.bundling import made, nothing_taken, quiet, settings, take_in
from tests.library.small_models import gguf_bytes

__all__ = ["made", "settings"]


# --- altered ----------------------------------------------------------------------------------


@pytest.fixture
def altered(made: Path, tmp_path: Path) -> Path:
    """A bundle in a folder, to be spoiled."""
    return Path(shutil.copytree(made / "bundle", tmp_path / "altered"))


def _flip(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def _link(folder: Path) -> None:
    (folder / "README.txt").unlink()
    (folder / "README.txt").symlink_to("/etc/passwd")


def _linked_folder(folder: Path) -> None:
    (folder / "models").rename(folder.parent / "elsewhere")
    (folder / "models").symlink_to(folder.parent / "elsewhere")


def _pipe(folder: Path) -> None:
    (folder / "README.txt").unlink()
    os.mkfifo(folder / "README.txt")


SPOILED: dict[str, Callable[[Path], object]] = {
    "weights": _flip("models/named--tiny/tiny.gguf"),
    "licence": _flip("models/named--toy/LICENSE"),
    "deed": _flip("deeds/named--tiny.json"),
    "list": _flip("manifest.json"),
    "signature": _flip("manifest.sig"),
    "missing": lambda folder: (folder / "README.txt").unlink(),
    "surplus": lambda folder: (folder / "more.txt").write_bytes(b"x"),
    "hidden": lambda folder: (folder / ".more").write_bytes(b"x"),
    "short": lambda folder: (folder / "README.txt").write_bytes(b""),
    "long": lambda folder: (folder / "README.txt").write_bytes(b"x" * 5000),
    "link": _link,
    "linked folder": _linked_folder,
    "pipe": _pipe,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_altered_bundle_is_refused_whole(
    altered: Path, settings: Settings, spoil: Callable[[Path], object]
) -> None:
    spoil(altered)
    with pytest.raises(FreeholdError) as caught:
        take_in(altered, settings)
    assert caught.value.hint
    assert nothing_taken(settings)


def _with_list(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    (folder / "manifest.sig").unlink()
    table = json.loads((folder / "manifest.json").read_text("utf-8"))
    change(table)
    (folder / "manifest.json").write_text(json.dumps(table))


LISTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "traversal": lambda table: table["files"][0].update(name="../../outside"),
    "absolute": lambda table: table["files"][0].update(name="/etc/passwd"),
    "twins": lambda table: table["files"].append(table["files"][0] | {"name": "readme.TXT"}),
    "control": lambda table: table["files"][0].update(name="a\u0000b"),
    "digest": lambda table: table["files"][0].update(sha256="../" + "0" * 61),
    "negative": lambda table: table["files"][0].update(size_bytes=-1),
    "huge": lambda table: table["files"][0].update(size_bytes=1 << 60),
    "form": lambda table: table.update(form="freehold bundle 2"),
    "model name": lambda table: table["models"][0].update(name="../x"),
    "model twice": lambda table: table["models"].append(table["models"][0]),
    "model of others": lambda table: table["models"][0].update(name="starter"),
    "file of model": lambda table: table["models"][0]["files"][0].update(name="../../x"),
    "no models": lambda table: table.update(models=7),
    "many": lambda table: table.update(files=table["files"] * 2000),
}


@pytest.mark.parametrize("change", LISTS.values(), ids=LISTS)
def test_list_with_tricks_is_refused(
    altered: Path, settings: Settings, change: Callable[[dict[str, Any]], object]
) -> None:
    _with_list(altered, change)
    with pytest.raises(FreeholdError):
        take_in(altered, settings)
    assert nothing_taken(settings)
    assert not (settings.models_dir.parent / "outside").exists()


def test_another_model_of_the_same_name_is_not_replaced(
    made: Path, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "tiny.gguf").write_bytes(gguf_bytes(5))
    import_model(str(tmp_path / "tiny.gguf"), settings=settings, progress=quiet)
    with pytest.raises(BadBundle, match="another model"):
        take_in(made / "bundle.tar", settings)
    assert resolve("tiny", settings=settings).read_bytes() == gguf_bytes(5)
    assert len(held_models(settings.models_dir)) == 1


# --- archives ---------------------------------------------------------------------------------


def _archive(made: Path, tmp_path: Path, add: Callable[[tarfile.TarFile], object]) -> Path:
    """The bundle as Python's own tarfile writes it, with something added."""
    path = tmp_path / "other.tar"
    with (
        tarfile.open(made / "bundle.tar") as source,
        tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for member in source:
            archive.addfile(member, source.extractfile(member))
        add(archive)
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "member",
    [
        _member("link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("hard", tarfile.LNKTYPE, "manifest.json"),
        _member("folder", tarfile.DIRTYPE),
        _member("device", tarfile.CHRTYPE),
        _member("pipe", tarfile.FIFOTYPE),
        _member("../outside"),
        _member("/outside"),
        _member("a/../../outside"),
        _member("README.txt"),
        _member("surplus"),
        _member("n" * 150),
    ],
    ids=lambda member: member.name[:20],
)
def test_archive_with_more_than_its_files_is_refused(
    made: Path, settings: Settings, tmp_path: Path, member: tarfile.TarInfo
) -> None:
    path = _archive(made, tmp_path, lambda archive: archive.addfile(member))
    with pytest.raises(FreeholdError):
        take_in(path, settings)
    assert nothing_taken(settings)


def test_archive_that_ends_early_is_refused_at_every_place(
    made: Path, settings: Settings, tmp_path: Path
) -> None:
    raw = (made / "bundle.tar").read_bytes()
    for length in (0, 100, 512, 2000, 5000, len(raw) // 2, len(raw) - 1024, len(raw) - 1):
        (tmp_path / "cut.tar").write_bytes(raw[:length])
        with pytest.raises(FreeholdError):
            take_in(tmp_path / "cut.tar", settings)
    assert nothing_taken(settings)


@pytest.mark.parametrize(
    ("place", "value"),
    [(124, b"\xff" * 12), (124, b"9" * 12), (148, b"0000000\0"), (156, b"x"), (257, b"other")],
    ids=["size", "digits", "sum", "type", "form"],
)
def test_header_that_lies_is_refused(
    settings: Settings, tmp_path: Path, place: int, value: bytes
) -> None:
    block = bytearray(header_of(SafeName("manifest.json"), 10))
    block[place : place + len(value)] = value
    if place != 148:
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "bad.tar").write_bytes(bytes(block) + b"x" * 10 + padding_of(10) + END)
    with pytest.raises(BadBundle):
        take_in(tmp_path / "bad.tar", settings)
