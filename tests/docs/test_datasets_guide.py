"""What docs/datasets.md tells a reader to do, works, in its order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from freehold.tune.datasets import FORMS
from freehold.tune.datasets.registry import BASES
from tests.cli.conftest import Run, freehold

__all__ = ["freehold"]

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "datasets.md").read_text("utf-8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    return [shlex.split(line[2:]) for block in blocks for line in block.splitlines()]


@pytest.mark.weights
def test_the_commands_of_the_guide(
    home: Path,
    starter_path: Path,
    tmp_path: Path,
    freehold: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = home / "models" / "starter" / starter_path.name
    place.parent.mkdir(parents=True)
    place.symlink_to(starter_path.absolute())
    for name in ("train.jsonl", "heldout.jsonl"):
        lines = (ROOT / "tests" / "data" / "section" / name).read_text("utf-8").splitlines()
        # The last of them, among which nothing is alike.
        (tmp_path / name).write_text("\n".join(lines[-60:]) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    said = {}
    for words in commands():
        ran = freehold(*words[1:])
        assert ran.status == 0, (words, ran)
        said[" ".join(words[2:4])] = ran.out + ran.err
    assert "can be trained on" in said["check train.jsonl"]
    assert "⟦" in said["show train.jsonl"]
    assert "package lists of Debian 12" in said["show sections"]
    assert "sections-heldout" in said["split sections"]
    assert "nothing on record has learned from it" in said["withdraw sections"]


def test_the_guide_names_every_form_and_basis() -> None:
    assert all(f"`{form}`" in GUIDE for form in FORMS if form != "auto")
    assert all(f"`{basis}`" in GUIDE for basis in BASES)
    assert len(commands()) >= 8
