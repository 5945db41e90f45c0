"""A directory of a model, named by its path: run like a file, through the same gate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.loading.small_directory import write_directory, write_weights

CARD = "---\nlicense: cc-by-nc-4.0\n---\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    said = {"generation_config.json": {"do_sample": True, "temperature": 0.5, "top_k": 3}}
    folder = write_directory(tmp_path / "Small-2.5", said)
    write_weights(folder)
    return folder


def test_a_directory_answers(freehold: Run, folder: Path) -> None:
    ran = freehold("run", str(folder), "hello", "--max-tokens", "3", "--seed", "1", "--json")
    assert ran.status == 0, ran.err
    answer = json.loads(ran.out)
    assert answer["model"] == str(folder)
    assert answer["generated_tokens"] <= 3
    assert answer["sampling"]["top_k"] == {"value": 3, "from": "model"}


@pytest.mark.parametrize("command", [["run"], ["serve"]])
def test_its_terms_are_asked_first(freehold: Run, folder: Path, command: list[str]) -> None:
    (folder / "README.md").write_text(CARD)
    assert freehold("config", "profile", "--set", "commercial=yes").status == 0
    words = ["hello"] if command == ["run"] else []
    ran = freehold(*command, str(folder), *words)
    assert ran.status != 0
    assert "error[library.licence_denied]" in ran.err


def test_a_directory_without_a_configuration_is_no_model(freehold: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = freehold("run", str(tmp_path / "empty"), "hello")
    assert ran.status == 2
    assert "directory with config.json" in ran.err
