"""What a reference stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.errors import UnknownModel
from freehold.library import pull, resolve
from tests.library.conftest import Index


def test_a_path_is_itself(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"x")
    assert resolve(file) == file
    assert resolve(str(file)) == file


def test_a_relative_path_and_a_home_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("model.gguf") == Path("model.gguf")
    assert resolve("~/model.gguf") == tmp_path / "model.gguf"


def test_a_short_name_is_the_store_file(index: Index, home: Path) -> None:
    path = pull("starter", settings=resolve_settings()).path
    assert resolve("starter") == path


def test_a_name_not_pulled_yet_says_how(home: Path) -> None:
    with pytest.raises(UnknownModel) as caught:
        resolve("starter")
    assert "freehold pull starter" in caught.value.hint


def test_a_file_named_like_the_model_needs_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    (tmp_path / "starter").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModel):
        resolve("starter")
    assert resolve("./starter") == Path("starter")


@pytest.mark.parametrize("ref", ["org/name", "org/name:Q4_K_M"])
def test_a_repository_whose_files_are_not_here_is_refused_with_how_to_pull_it(ref: str) -> None:
    with pytest.raises(UnknownModel, match="not in the store") as caught:
        resolve(ref)
    assert caught.value.hint == f"`freehold pull {ref}`"


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        ("missing.gguf", "no such file"),
        ("./missing", "no such file"),
        ("/nowhere/model", "no such file"),
        ("nonesuch", "neither a file nor a known name"),
        ("", "a directory"),
        (".", "a directory"),
        ("x" * 5000, "too long"),
        ("nul\0byte", "neither a file nor a known name"),
    ],
)
def test_everything_else_is_refused_with_what_was_found(
    ref: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModel) as caught:
        resolve(ref)
    assert found in caught.value.found
    assert "starter" in caught.value.expected


def test_a_pipe_is_not_a_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(UnknownModel, match="regular file"):
        resolve(tmp_path / "pipe.gguf")


def test_a_directory_with_a_configuration_is_a_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="a directory"):
        resolve(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert resolve(tmp_path) == resolve(str(tmp_path)) == tmp_path
