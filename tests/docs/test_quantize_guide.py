"""What docs/quantize.md tells a reader to do, works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.formats.gguf import open_gguf
from freehold.quantize import RECIPES
from tests.cli.conftest import Run, freehold
from tests.loading.small import Dims, small

__all__ = ["freehold"]

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "quantize.md").read_text("utf-8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    lines = [line[2:] for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines]


EACH_COMMAND = pytest.mark.parametrize("words", commands(), ids=lambda words: str(words[-1]))
# The starter's weights in miniature, and a context that holds the guide's texts.
TOY = Dims(L=2, D=64, H=4, G=2, A=16, F=96, V=300, kind="BF16", context_tokens=512)


def check_written(folder: Path, words: list[str]) -> None:
    with open_gguf(folder / words[words.index("--output") + 1]) as file:
        assert file.metadata["freehold.loss.tokens"] == 128


@EACH_COMMAND
def test_command_of_the_guide_works_over_a_small_model(
    words: list[str], freehold: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = small(TOY).write(tmp_path / "toy.gguf")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    ran = freehold(*[str(toy) if word == "starter" else word for word in words[1:]])
    assert ran.status == 0, ran.err
    assert "mean KL" in ran.out
    check_written(tmp_path, words)


@pytest.mark.slow
@pytest.mark.weights
@EACH_COMMAND
def test_command_of_the_guide(
    words: list[str], home: Path, starter_path: Path, tmp_path: Path
) -> None:
    place = home / "models" / "starter" / starter_path.name
    place.parent.mkdir(parents=True)
    place.symlink_to(starter_path.absolute())
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    done = subprocess.run(
        [sys.executable, "-m", "freehold", *words[1:]],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUTF8": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"mean KL" in done.stdout
    check_written(tmp_path, words)


def test_the_guide_names_every_recipe() -> None:
    assert all(f"`{name}`" in GUIDE for name in RECIPES)
    assert len(commands()) >= 4
