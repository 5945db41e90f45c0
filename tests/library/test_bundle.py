"""A bundle is taken in whole and verified, or not at all."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from freehold.config import Settings, resolve_settings
from freehold.errors import BadBundle, DigestMismatch, FreeholdError, UnknownModel
from freehold.library import held_models, held_named, resolve
from freehold.library.bundle_read import Unbundled, import_bundle, is_bundle
from freehold.library.bundle_write import Bundled, make_bundle
from freehold.library.held_events import write_down
from freehold.library.importing import import_model
from freehold.library.names import SafeName
from freehold.library.record import open_record
from freehold.library.shelf import staging_dir
from freehold.library.signing import PublicKey, make_key, read_public_key
from freehold.library.tar_stream import END, entries_of, header_of, padding_of
from tests.library.hub_server import sha256
from tests.library.small_models import directory_files, gguf_bytes

MODEL = gguf_bytes(3)


def quiet(phase: str, done: int, total: int) -> None:
    del phase, done, total


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of two models, a key, and bundles of both forms signed by it."""
    folder = tmp_path_factory.mktemp("made")
    settings = resolve_settings({"home": folder / "home"})
    (folder / "tiny.gguf").write_bytes(MODEL)
    (folder / "toy").mkdir()
    for name, content in directory_files().items():
        if "/" not in name:
            (folder / "toy" / name).write_bytes(content)
    for source in ("tiny.gguf", "toy"):
        import_model(str(folder / source), settings=settings, progress=quiet)
    make_key(folder / "key")
    for out in ("bundle.tar", "bundle"):
        bundle(folder, out, key_file=folder / "key")
    return folder


def bundle(folder: Path, out: str, **more: Any) -> Bundled:
    more = {"refs": ["tiny", "toy"], "key_file": None} | more
    settings = resolve_settings({"home": folder / "home"})
    return make_bundle(more.pop("refs"), folder / out, settings=settings, progress=quiet, **more)


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("freehold.library.bundle_read.write_down", lambda held, **_: None)
    return resolve_settings()


def take_in(path: Path, settings: Settings, trust: PublicKey | None = None) -> Unbundled:
    return import_bundle(path, settings=settings, trust=trust, progress=quiet)


def nothing_taken(settings: Settings) -> bool:
    staged = [path for path in staging_dir(settings.models_dir).glob("*") if path.is_dir()]
    return held_models(settings.models_dir) == () and staged == []


@pytest.mark.parametrize("form", ["bundle.tar", "bundle"])
def test_models_arrive_as_they_were(made: Path, settings: Settings, form: str) -> None:
    assert is_bundle(made / form)
    came = take_in(made / form, settings, read_public_key(str(made / "key.pub")))
    assert {model.ref for model in came.models} == {"tiny", "toy"}
    assert came.trusted
    assert resolve("tiny", settings=settings).read_bytes() == MODEL
    toy = resolve("toy", settings=settings)
    assert (toy / "LICENSE").read_bytes() == b"terms"
    again = take_in(made / form, settings)
    assert (again.models, len(again.present)) == ((), 2)


def test_import_of_a_bundle_is_in_the_record_with_its_key(
    made: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.library.bundle_read.write_down", write_down)
    take_in(made / "bundle.tar", settings)
    with open_record(settings) as events:
        (event,) = events.about(f"sha256:{sha256(MODEL)}")
    source = event.body["source"]
    assert (event.kind, source["kind"]) == ("imported", "bundle")
    assert source["signed_by"] == read_public_key(str(made / "key.pub")).fingerprint


def test_bundle_carries_the_deed(made: Path) -> None:
    deed = json.loads((made / "bundle/deeds/named--tiny.json").read_text("utf-8"))
    assert deed["digest"] == f"sha256:{sha256(MODEL)}"


def test_other_programs_read_the_archive(made: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["tar", "-xf", made / "bundle.tar", "-C", tmp_path], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models/named--tiny/tiny.gguf").read_bytes() == MODEL
    with tarfile.open(made / "bundle.tar") as archive:
        assert archive.getnames()[:2] == ["manifest.json", "manifest.sig"]


def test_long_names_and_sizes_past_8_gib_survive_the_form() -> None:
    name = SafeName("/".join(["folder" * 10] * 2) + "/" + "n" * 90)
    for size_bytes in (0, 8 << 30, 3 << 40):
        block = header_of(name, size_bytes)
        entry = next(entries_of(io.BytesIO(block)))
        assert (entry.name, entry.size_bytes) == (name, size_bytes)
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        assert (info.name, info.size) == (name.text, size_bytes)


def test_out_that_is_there_is_left_alone(made: Path) -> None:
    before = (made / "bundle.tar").read_bytes()
    with pytest.raises(BadBundle, match="already"):
        bundle(made, "bundle.tar")
    assert (made / "bundle.tar").read_bytes() == before


def test_unknown_model_makes_no_bundle(made: Path) -> None:
    with pytest.raises(UnknownModel):
        bundle(made, "none.tar", refs=["nonesuch"])
    assert not (made / "none.tar").exists()


def test_rotten_model_makes_no_bundle(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "home", tmp_path / "home")
    settings = resolve_settings({"home": tmp_path / "home"})
    held = held_named("tiny", settings.models_dir)
    assert held is not None
    held.path.write_bytes(MODEL[:-1] + b"x")
    with pytest.raises(DigestMismatch, match="when it came"):
        bundle(tmp_path, "rotten.tar")
    assert list(tmp_path.glob("*rotten*")) == []


# --- signatures -------------------------------------------------------------------------------


def test_secret_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    public = make_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert read_public_key(str(public)) == read_public_key(str(tmp_path / "key.pub"))
    with pytest.raises(FileExistsError):
        make_key(tmp_path / "key")
    with pytest.raises(BadBundle) as caught:
        read_public_key(str(tmp_path / "key"))
    secret = (tmp_path / "key").read_text("ascii").split(":")[1].strip()
    assert secret not in str(caught.value)


def test_bundle_of_another_key_is_refused(made: Path, settings: Settings, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    with pytest.raises(BadBundle, match="not signed by the key"):
        take_in(made / "bundle.tar", settings, other)
    bundle(made, "plain.tar")
    with pytest.raises(BadBundle) as caught:
        take_in(made / "plain.tar", settings, other)
    assert caught.value.found == "no signature"
    assert nothing_taken(settings)
    (made / "plain.tar").unlink()


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
