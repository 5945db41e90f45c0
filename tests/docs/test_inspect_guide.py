"""What docs/inspect.md tells a reader to do, works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Run, freehold  # noqa: F401 - a fixture
from tests.loading.small import Dims, small

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "inspect.md").read_text("utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line[2:])[1:] for block in BLOCKS for line in block.splitlines()]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_of_the_guide(
    words: list[str],
    freehold: Run,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A small model stands for the starter: what the commands do is the same."""
    monkeypatch.chdir(tmp_path)
    small().write(tmp_path / "before.gguf")
    small(Dims(kind="Q8_0")).write(tmp_path / "after.gguf")
    ran = freehold(*("before.gguf" if word == "starter" else word for word in words))
    assert ran.status == 0, ran.err
    if "--html" in words:
        assert (tmp_path / words[-1]).read_text("utf-8").startswith("<!doctype html>")
    else:
        assert ran.out


def test_the_guide_has_commands() -> None:
    assert len(COMMANDS) == 7
