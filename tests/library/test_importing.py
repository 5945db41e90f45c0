"""An import ends published and correct, or with nothing taken in and the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from freehold.config import Settings, resolve_settings
from freehold.errors import BadReference, DigestMismatch, DiskFull, FreeholdError, UnknownModel
from freehold.library import Held, held_models, resolve
from freehold.library.held_events import write_down
from freehold.library.importing import import_model
from freehold.library.record import open_record
from freehold.library.shelf import staging_dir
from freehold.library.terms import licence_named, licence_text
from tests.formats import gguf_build as gguf
from tests.library.hub_server import sha256
from tests.library.small_models import directory_files, gguf_bytes, split_gguf

MODEL = gguf_bytes(3)


@pytest.fixture
def settings(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setattr("freehold.library.importing.write_down", lambda held, **_: None)
    return resolve_settings()


def take_in(source: object, settings: Settings, **more: Any) -> Held:
    return import_model(
        str(source), settings=settings, progress=lambda phase, done, total: None, **more
    )


def nothing_taken(settings: Settings) -> bool:
    staged = [path for path in staging_dir(settings.models_dir).glob("*") if path.is_dir()]
    return held_models(settings.models_dir) == () and staged == []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "My Tiny.gguf"
    path.write_bytes(MODEL)
    return path


def write_all(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_file_is_shared_and_found_by_its_name(file: Path, settings: Settings) -> None:
    held = take_in(file, settings)
    assert held.ref == "my-tiny"
    assert resolve("my-tiny", settings=settings).samefile(file)
    assert held.weights.sha256.hex == sha256(MODEL)
    file.unlink()
    assert resolve("my-tiny", settings=settings).read_bytes() == MODEL


def test_copy_is_a_file_of_its_own(file: Path, settings: Settings) -> None:
    assert not take_in(file, settings, name="own", keep="copy").path.samefile(file)


def test_link_refers_to_the_file_and_notices_when_it_is_gone(
    file: Path, settings: Settings
) -> None:
    assert take_in(file, settings, name="there", keep="link").path.is_symlink()
    file.unlink()
    with pytest.raises(DigestMismatch) as caught:
        resolve("there", settings=settings)
    assert "leads nowhere" in caught.value.found


def test_import_is_in_the_record(
    file: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.library.importing.write_down", write_down)
    take_in(file, settings)
    with open_record(settings) as events:
        (event,) = events.all()
    assert event.kind == "imported"
    assert event.subject == f"sha256:{sha256(MODEL)}"


def test_all_parts_of_a_split_file_are_taken(tmp_path: Path, settings: Settings) -> None:
    names = [f"tiny-0000{number}-of-00002.gguf" for number in (1, 2)]
    write_all(tmp_path, dict(zip(names, split_gguf(), strict=True)))
    held = take_in(tmp_path / names[0], settings, name="split")
    assert [file.name.text for file in held.files] == names
    (tmp_path / names[1]).unlink()
    with pytest.raises(BadReference, match="part"):
        take_in(tmp_path / names[0], settings, name="half")


def test_directory_is_taken_without_what_could_run(tmp_path: Path, settings: Settings) -> None:
    folder = write_all(tmp_path / "toy", directory_files())
    held = take_in(folder, settings)
    names = {file.name.text for file in held.files}
    assert {"config.json", "model-00002-of-00002.safetensors", "LICENSE"} <= names
    assert not {"pytorch_model.bin", "modeling_toy.py", "LICENSE.py", "onnx/model.onnx"} & names
    assert resolve("toy", settings=settings) == held.path


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_pickles_are_refused(tmp_path: Path, settings: Settings, name: str) -> None:
    folder = write_all(tmp_path / "toy", {name: b"\x80\x04", "config.json": b"{}"})
    for source in (folder, folder / name):
        with pytest.raises(BadReference, match="can run code"):
            take_in(source, settings)
    assert nothing_taken(settings)


@pytest.mark.parametrize("content", [b"", b"GGUF", MODEL[:-1], b"\x80\x04pickle"])
def test_what_does_not_open_is_not_taken(
    tmp_path: Path, settings: Settings, content: bytes
) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(FreeholdError) as refused:
        take_in(tmp_path / "bad.gguf", settings)
    assert str(settings.models_dir) not in str(refused.value), "the file given, not a copy"
    assert nothing_taken(settings)


def test_missing_shard_of_a_directory_is_noticed(tmp_path: Path, settings: Settings) -> None:
    files = directory_files()
    del files["model-00002-of-00002.safetensors"]
    with pytest.raises(FreeholdError):
        take_in(write_all(tmp_path / "toy", files), settings)
    assert nothing_taken(settings)


def test_name_in_use_is_refused(file: Path, settings: Settings) -> None:
    take_in(file, settings, name="mine")
    for name in ("mine", "starter"):
        with pytest.raises(BadReference, match="already"):
            take_in(file, settings, name=name)


@pytest.mark.parametrize(
    "name", ["../x", "A", "a/b", "", ".x", "a" * 65, "con", "a\0", "-x", "a..b"]
)
def test_name_that_breaks_the_rules_is_refused(file: Path, settings: Settings, name: str) -> None:
    with pytest.raises(BadReference):
        take_in(file, settings, name=name)
    assert nothing_taken(settings)


def test_nothing_there_names_the_ways(settings: Settings) -> None:
    with pytest.raises(UnknownModel, match="nothing to import"):
        take_in("nonesuch.gguf", settings)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_full_disk_is_refused_before_a_copy(
    file: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(100, 99, 1))
    with pytest.raises(DiskFull):
        take_in(file, settings, keep="copy")
    assert nothing_taken(settings)


# --- Ollama -----------------------------------------------------------------------------------


def ollama(tmp_path: Path, layers: list[dict[str, Any]] | None = None, *, tag: str = "1b") -> Path:
    store = tmp_path / "ollama"
    blobs = {MODEL: "model", b"terms": "license", b"{{ .Prompt }}": "template"}
    for content in blobs:
        write_all(store / "blobs", {f"sha256-{sha256(content)}": content})
    if layers is None:
        layers = [
            {
                "mediaType": f"application/vnd.ollama.image.{kind}",
                "digest": f"sha256:{sha256(content)}",
                "size": len(content),
            }
            for content, kind in blobs.items()
        ]
    manifest = {"schemaVersion": 2, "layers": layers}
    write_all(
        store / "manifests/registry.ollama.ai/library/toy", {tag: json.dumps(manifest).encode()}
    )
    return store


def test_model_of_ollama_is_shared_with_its_licence(tmp_path: Path, settings: Settings) -> None:
    store = ollama(tmp_path)
    held = take_in("ollama:toy:1b", settings)
    assert held.ref == "toy-1b"
    assert held.path.samefile(store / "blobs" / f"sha256-{sha256(MODEL)}")
    assert (held.folder / "files" / "LICENSE").read_bytes() == b"terms"


def test_latest_is_the_tag_of_ollama(tmp_path: Path, settings: Settings) -> None:
    ollama(tmp_path, tag="latest")
    assert take_in("ollama:toy", settings).ref == "toy"


def test_altered_blob_of_ollama_is_noticed(tmp_path: Path, settings: Settings) -> None:
    store = ollama(tmp_path)
    (store / "blobs" / f"sha256-{sha256(MODEL)}").write_bytes(MODEL[:-1] + b"x")
    with pytest.raises(DigestMismatch):
        take_in("ollama:toy:1b", settings)
    assert nothing_taken(settings)


IMAGE = "application/vnd.ollama.image."


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [{"mediaType": IMAGE + "model", "digest": "sha256:../../../../etc/passwd"}],
        [{"mediaType": IMAGE + "model", "digest": "../../x"}],
        [{"mediaType": IMAGE + "model", "digest": "sha256:" + "0" * 64}],
        [{"mediaType": IMAGE + "model", "digest": 7}],
        [{"mediaType": IMAGE + "model"}],
        [7],
        [{"mediaType": IMAGE + "model", "digest": f"sha256:{sha256(MODEL)}"}] * 2,
        [{"mediaType": IMAGE + "model", "digest": f"sha256:{sha256(MODEL)}"}] * 65,
        [
            {"mediaType": IMAGE + "model", "digest": f"sha256:{sha256(MODEL)}"},
            {"mediaType": IMAGE + "adapter", "digest": f"sha256:{sha256(MODEL)}"},
        ],
    ],
    ids=lambda layers: str(layers)[:40],
)
def test_manifest_out_of_order_is_refused(
    tmp_path: Path, settings: Settings, layers: list[Any]
) -> None:
    ollama(tmp_path, layers)
    with pytest.raises(BadReference):
        take_in("ollama:toy:1b", settings)
    assert nothing_taken(settings)


@pytest.mark.parametrize(
    "name", ["../toy:1b", "toy:../1b", "a/b/c/d", "toy:1b/..", "/etc/passwd", "toy\0", "", "toy:2b"]
)
def test_name_of_ollama_leads_nowhere_else(tmp_path: Path, settings: Settings, name: str) -> None:
    ollama(tmp_path)
    with pytest.raises((BadReference, UnknownModel)):
        take_in(f"ollama:{name}", settings)
    assert nothing_taken(settings)


def test_symbolic_link_of_a_directory_is_taken_as_its_file(
    tmp_path: Path, settings: Settings
) -> None:
    # So are the snapshots of the hub's own cache.
    real = write_all(tmp_path / "blobs", directory_files())
    folder = tmp_path / "snapshot"
    folder.mkdir()
    for path in real.iterdir():
        (folder / path.name).symlink_to(path)
    held = take_in(folder, settings)
    assert not any((held.folder / "files" / file.name.text).is_symlink() for file in held.files)


# --- the licence ------------------------------------------------------------------------------


def stating(key: str, value: str) -> bytes:
    pairs = [gguf.ARCHITECTURE, gguf.pair(key, gguf.STRING, value)]
    tensors = [gguf.tensor("token_embd.weight", [1024], 0, 0)]
    return gguf.Gguf(pairs=pairs, tensors=tensors, data=bytes(4096)).content()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("general.license", "Apache-2.0", "apache-2.0"),
        ("general.license.name", "gemma", "gemma"),
        ("general.license", "other", None),
        ("general.license", "of-my-own", "of-my-own"),
        ("general.name", "apache-2.0", None),
    ],
)
def test_licence_is_the_one_that_the_header_states(
    tmp_path: Path, settings: Settings, key: str, value: str, expected: str | None
) -> None:
    (tmp_path / "stating.gguf").write_bytes(stating(key, value))
    held = take_in(tmp_path / "stating.gguf", settings)
    assert held.licence == expected
    (again,) = held_models(settings.models_dir)
    assert again.licence == expected


def test_licence_of_a_directory_is_that_of_its_card_or_its_licence_file(
    tmp_path: Path, settings: Settings
) -> None:
    files = {name: content for name, content in directory_files().items() if "/" not in name}
    mit = known_text("mit")
    for name, more in (
        ("card", {"README.md": b"---\nlicense: mit\n---\n"}),
        ("text", {"LICENSE": mit.encode()}),
    ):
        held = take_in(write_all(tmp_path / name, files | more), settings)
        assert held.licence == "mit"


def known_text(name: str) -> str:
    licence = licence_named(name)
    assert licence is not None
    return licence_text(licence) or ""
