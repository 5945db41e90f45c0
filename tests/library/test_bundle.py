"""A bundle carries models as they were, signed, to a machine that verifies them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from freehold.config import Settings, resolve_settings
from freehold.errors import BadBundle, DigestMismatch, UnknownModel
from freehold.library import held_named, resolve
from freehold.library.bundle_read import is_bundle
from freehold.library.held_events import write_down
from freehold.library.importing import import_model
from freehold.library.names import SafeName
from freehold.library.record import open_record
from freehold.library.signing import make_key, read_public_key
from freehold.library.tar_stream import entries_of, header_of
from freehold.library.terms import licence_named, licence_text
from tests.formats import gguf_build as gguf
from tests.library.bundling import MODEL, bundle, made, nothing_taken, quiet, settings, take_in
from tests.library.hub_server import sha256

__all__ = ["made", "settings"]


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


def test_bundle_carries_the_text_of_each_licence(tmp_path: Path) -> None:
    settings = resolve_settings({"home": tmp_path / "home"})
    pairs = [gguf.ARCHITECTURE, gguf.pair("general.license", gguf.STRING, "apache-2.0")]
    tensors = [gguf.tensor("token_embd.weight", [1024], 0, 0)]
    content = gguf.Gguf(pairs=pairs, tensors=tensors, data=bytes(4096)).content()
    (tmp_path / "apache.gguf").write_bytes(content)
    import_model(str(tmp_path / "apache.gguf"), settings=settings, progress=quiet)
    bundle(tmp_path, "terms", refs=["apache"])
    folder = tmp_path / "terms/licences/named--apache"
    (text,) = folder.iterdir()
    licence = licence_named("apache-2.0")
    assert licence is not None
    whole = licence_text(licence)
    assert whole is not None
    assert text.name == "apache-2.0.txt"
    assert text.read_text("utf-8").startswith(whole.rstrip())
    listed = json.loads((tmp_path / "terms/manifest.json").read_text("utf-8"))["files"]
    assert "licences/named--apache/apache-2.0.txt" in [file["name"] for file in listed]


def test_bundle_says_where_no_licence_is_known(made: Path) -> None:
    note = (made / "bundle/licences/named--tiny/unknown.txt").read_text("utf-8")
    assert note.startswith("No licence of this model is known")


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
