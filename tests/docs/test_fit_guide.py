"""What docs/fit.md tells a reader to do, works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from freehold.fit import measured
from freehold.library.known.model import TASKS
from tests.cli.conftest import Run, freehold
from tests.fit.rates import made_rates

__all__ = ["freehold"]

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "fit.md").read_text("utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line[2:] for line in lines if line.startswith("$ freehold ")]


@pytest.mark.parametrize("line", commands())
def test_command_of_the_guide(line: str, freehold: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over made-up rates; tests/fit measures for real."""
    monkeypatch.setattr(measured, "measure_rates", lambda progress: made_rates())
    ran = freehold(*shlex.split(line)[1:])
    assert ran.status == 0, ran.err
    assert ran.out


def test_the_guide_has_something_to_run_and_names_every_task() -> None:
    assert len(commands()) >= 6
    assert all(task in GUIDE for task in TASKS)
