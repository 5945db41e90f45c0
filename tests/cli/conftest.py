"""Runs the command line: in this process where that is the same, else in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from freehold.cli import main
from tests.cli import scripted as scripted_module

ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = [sys.executable, "-m", "tests.cli.scripted"]
REAL = [sys.executable, "-m", "freehold"]


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


def in_own_process(command: list[str]) -> Run:
    """For what a process alone has: start-up, its exit, the hook for unforeseen exceptions."""

    def run(*args: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Ran:
        done = subprocess.run(
            [*command, *args],
            input=stdin,
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONUTF8": "1", **(env or {})},
            timeout=60,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def freehold(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """The command line as it is."""

    def run(*args: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Ran:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["freehold", *args])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "excepthook", sys.excepthook)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as end:
                main()
        assert isinstance(end.value.code, int)
        return Ran(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def scripted(freehold: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line over the scripted model."""
    scripted_module.install(monkeypatch.setattr, monkeypatch.setitem)
    return freehold
