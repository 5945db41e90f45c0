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

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "quantize.md").read_text("utf-8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    lines = [line[2:] for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines]


def slow(words: list[str]) -> list[pytest.MarkDecorator]:
    """The search encodes the starter group by group, which takes a minute."""
    searching = {"--fit", "--max-kl"} & set(words)
    return [pytest.mark.weights, *([pytest.mark.slow] if searching else [])]


@pytest.mark.parametrize(
    "words", [pytest.param(words, id=words[-1], marks=slow(words)) for words in commands()]
)
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
    with open_gguf(tmp_path / words[words.index("--output") + 1]) as file:
        assert file.metadata["freehold.loss.tokens"] == 128


def test_the_guide_names_every_recipe() -> None:
    assert all(f"`{name}`" in GUIDE for name in RECIPES)
    assert len(commands()) >= 4
