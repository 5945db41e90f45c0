"""Runs the command line in a process of its own: exit statuses, pipes and signals are real."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = [sys.executable, "-m", "tests.cli.scripted"]
REAL = [sys.executable, "-m", "freehold"]


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


def run_command(
    command: list[str],
    *args: str,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
) -> Ran:
    done = subprocess.run(
        [*command, *args],
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1", **(env or {})},
        timeout=60,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def scripted(home: Path) -> Run:
    """The command line over the scripted model."""

    def run(*args: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Ran:
        return run_command(SCRIPTED, *args, stdin=stdin, env=env)

    return run


@pytest.fixture
def freehold(home: Path) -> Run:
    """The command line as it is."""

    def run(*args: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Ran:
        return run_command(REAL, *args, stdin=stdin, env=env)

    return run
