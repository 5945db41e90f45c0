"""What docs/tune.md tells a reader to do, works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.models.registry import PLAIN_LAYERS
from freehold.tune.training.spec import TrainSpec

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "tune.md").read_text("utf-8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    return [shlex.split(line[2:]) for block in blocks for line in block.splitlines()]


@pytest.mark.weights
@pytest.mark.slow
def test_the_commands_of_the_guide(home: Path, starter_path: Path, tmp_path: Path) -> None:
    place = home / "models" / "starter" / starter_path.name
    place.parent.mkdir(parents=True)
    place.symlink_to(starter_path.absolute())
    for name in ("train", "heldout"):
        lines = (ROOT / "tests" / "data" / "section" / f"{name}.jsonl").read_text().splitlines()
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines[:32]) + "\n")
    said = b""
    for words in commands():
        done = subprocess.run(
            [sys.executable, "-m", "freehold", *words[1:]],
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUTF8": "1"},
            timeout=300,
        )
        assert done.returncode == 0, done.stderr.decode()
        said = done.stdout + done.stderr
    assert b"held-out loss" in said
    assert b"freehold serve starter --adapter starter-sections=" in said


def test_the_guide_says_what_holds() -> None:
    spec = TrainSpec(base="", data="")
    assert "at most a twentieth of the steps or a minute" in GUIDE
    assert spec.checkpoint_every_steps is None, "the guide says what the trainer chooses"
    assert f"{spec.rate:g}".replace("0.001", "1e-3") in GUIDE
    assert len(commands()) == 3
    assert len(PLAIN_LAYERS) == 8, "a family more or less: say so in the guide"
