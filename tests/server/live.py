"""The real server over the starter model, once for all tests that ask it.

A process of its own, as people start it: `freehold serve FILE --port 0`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["LiveServer", "live_server", "living"]

_CONTEXT_TOKENS = 2048
_STARTED_S = 60.0
_STOPPED_S = 30.0


@dataclass(frozen=True)
class LiveServer:
    """Where it listens, the id of its one model, and the file of its log lines."""

    url: str
    model: str
    pid: int
    log: Path
    context_tokens: int = _CONTEXT_TOKENS

    @property
    def openai_url(self) -> str:
        """What OpenAI's clients call the base URL."""
        return f"{self.url}/v1"


@pytest.fixture(scope="session")
def live_server(
    starter_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """The server with the starter model in memory. Tests that take it carry `weights`."""
    with living(starter_path, tmp_path_factory.mktemp("live")) as server:
        yield server


@contextmanager
def living(model: Path, home: Path, *args: str) -> Iterator[LiveServer]:
    """A server over a model's file, in a home of its own, with more arguments or without."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("FREEHOLD_")}
    environment["FREEHOLD_HOME"] = str(home)
    if isa := os.environ.get("FREEHOLD_ISA"):
        environment["FREEHOLD_ISA"] = isa
    command = [sys.executable, "-m", "freehold", "serve", str(model), "--port", "0", *args]
    command += ["--context", str(_CONTEXT_TOKENS), "--log-format", "json", "--kv-memory", "512MiB"]
    log = home / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(command, stderr=file, env=environment) as process,
    ):
        try:
            yield _started(process, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOPPED_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _started(process: subprocess.Popen[bytes], log: Path) -> LiveServer:
    """Waits for the line that says what runs."""
    deadline = time.monotonic() + _STARTED_S
    while process.poll() is None and time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            facts = json.loads(line) if line.startswith("{") else {}
            if facts.get("event") == "started":
                (model,) = facts["models"]
                return LiveServer(url=facts["url"], model=model["model"], pid=process.pid, log=log)
        time.sleep(0.05)
    pytest.fail(f"the server did not start:\n{log.read_text()}")
