"""What docs/deed.md tells a reader to do, works, in its order and in one place."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "deed.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(console|python)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def steps() -> list[list[str]]:
    """Every command and program of the guide, as an argument list."""
    found = []
    for language, block in BLOCKS:
        if language == "python":
            found.append([sys.executable, "-c", block])
        else:
            lines = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
            found += [["bash", "-c", line] for line in lines]
    return found


@pytest.mark.weights
@pytest.mark.slow
def test_the_guide_from_its_first_command_to_its_last(
    home: Path, tmp_path: Path, starter_path: Path
) -> None:
    place = home / "models" / "starter" / starter_path.name
    place.parent.mkdir(parents=True)
    place.symlink_to(starter_path.absolute())
    program = tmp_path / "bin" / "freehold"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m freehold "$@"\n')
    program.chmod(0o755)
    # Like an editable installation, but wherever the tests are run from.
    path = f"{program.parent}:{os.environ['PATH']}"
    source = f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": source, "PYTHONUTF8": "1"}
    for step in steps():
        done = subprocess.run(
            step, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
        )
        assert done.returncode == 0, f"{step}: {done.stdout}{done.stderr}"
    assert "as they were written" in done.stdout
    bom = json.loads((tmp_path / "starter.cdx.json").read_text())
    assert bom["metadata"]["component"]["licenses"][0]["license"]["id"] == "Apache-2.0"


def test_the_guide_has_something_to_run() -> None:
    assert len(steps()) >= 9


def test_the_guide_names_every_kind_of_event() -> None:
    record = (ROOT / "src" / "freehold" / "library" / "record.py").read_text("utf-8")
    kinds = set(re.findall(r'_append\(events, "([a-z_]+)"', record))
    assert kinds
    assert kinds <= set(re.findall(r"^\| `([a-z_]+)`", GUIDE, re.MULTILINE))
