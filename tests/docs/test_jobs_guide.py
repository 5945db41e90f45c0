"""What docs/jobs.md tells a reader to do, works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.live import LiveServer

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "jobs.md").read_text("utf-8")
SERVER = "http://127.0.0.1:8460"


def blocks() -> list[str]:
    found = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    # A training takes longer; tests/server/openai/test_fine_tuning_live.py runs one.
    return [block for block in found if "fine_tuning" not in block]


@pytest.mark.weights
@pytest.mark.parametrize("source", blocks(), ids=["files", "batches"])
def test_python_of_the_guide(source: str, live_server: LiveServer) -> None:
    here = source.replace(SERVER, live_server.url).replace('"starter"', f'"{live_server.model}"')
    done = subprocess.run([sys.executable, "-c", here], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip()


def test_every_command_of_the_guide_is_one() -> None:
    from freehold.cli.app import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    said = set(re.findall(r"^\$ freehold (\w+)", GUIDE, re.MULTILINE))
    assert said == {"batch", "promote"}
    assert said <= known
