"""What docs/serving.md and the examples tell a reader to do, works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.config import resolve_settings, settings_table
from freehold.server.doors import OPEN_PATHS, scope_of
from tests.cli.conftest import Run, freehold
from tests.server.live import LiveServer

__all__ = ["freehold"]

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "serving.md").read_text("utf-8")
UNIT = (ROOT / "examples" / "freehold.service").read_text("utf-8")
IMAGE = (ROOT / "examples" / "Dockerfile").read_text("utf-8")
SERVER = "http://127.0.0.1:8460"
# They do not end by themselves; tests/server/test_serving.py runs them.
ENDLESS = ("make serve", "freehold serve starter")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    found = [line[2:].partition(" #")[0].strip() for line in lines if line.startswith("$ ")]
    return [line for line in found if line.split()[0] == program and line not in ENDLESS]


def at(live: LiveServer, text: str) -> str:
    """The same words for the tests' server: at another port, with its file's name for the model."""
    return text.replace(SERVER, live.url).replace('"starter"', f'"{live.model}"')


@pytest.mark.weights
@pytest.mark.parametrize("source", blocks("python"), ids=lambda source: source.splitlines()[0])
def test_python_of_the_guide(source: str, live_server: LiveServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", at(live_server, source)], capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip()


@pytest.mark.weights
@pytest.mark.parametrize("line", commands("curl"))
def test_curl_of_the_guide(line: str, live_server: LiveServer) -> None:
    done = subprocess.run(
        [*shlex.split(at(live_server, line)), "--fail-with-body"], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert done.stdout


@pytest.mark.parametrize("line", commands("freehold"))
def test_freehold_command_of_the_guide(line: str, freehold: Run) -> None:
    ran = freehold(*shlex.split(line)[1:])
    assert ran.status == 0, ran.err


def test_the_guide_has_something_to_run() -> None:
    assert len(commands("freehold")) >= 5
    assert len(commands("curl")) >= 3
    assert len(blocks("python")) == 3


def test_the_guide_starts_with_commands_that_exist() -> None:
    for line in ENDLESS:
        assert f"$ {line}" in GUIDE
    make = ["make", "--dry-run", "serve"]
    assert subprocess.run(make, cwd=ROOT, capture_output=True, timeout=60).returncode == 0


def test_every_route_of_the_guide_is_one_the_doors_know() -> None:
    routes = re.findall(r"`(/[a-z0-9_/]+)`", GUIDE)
    assert len(routes) > 20
    assert [route for route in routes if route not in OPEN_PATHS and not scope_of(route)] == []


def test_the_examples_use_settings_and_a_port_that_exist() -> None:
    known = {variable for _, variable, _ in settings_table()}
    port = resolve_settings(environment={}).port
    for text in (UNIT, IMAGE):
        used = set(re.findall(r"FREEHOLD_[A-Z_]+", text))
        assert used
        assert used <= known
    assert set(re.findall(r"\b8\d{3}\b", IMAGE)) == {str(port)}
    assert SERVER.endswith(f":{port}")


def test_the_unit_ends_the_server_before_its_engines() -> None:
    assert "KillMode=mixed" in UNIT
    drain_s = int(re.findall(r"FREEHOLD_DRAIN_S=(\d+)", UNIT)[0])
    assert int(re.findall(r"TimeoutStopSec=(\d+)", UNIT)[0]) > drain_s
    (words,) = [line.split() for line in UNIT.splitlines() if line.startswith("ExecStart=")]
    assert words[1:] == ["serve", "starter"]


def test_the_image_keeps_weights_and_builds_out() -> None:
    ignored = (ROOT / "examples" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert {"*.gguf", "*.safetensors", ".git", ".venv", "build", "shared"} <= set(ignored)
    assert "\nUSER freehold\n" in IMAGE
