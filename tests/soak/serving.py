"""The server under the soak: started as people start it, and seen from outside.

Knows processes and /proc; must not know what the server is asked.
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
from typing import Any

import httpx

__all__ = ["Memory", "Serving", "serving"]

_STARTED_S = 60.0
_DRAIN_S = 4
_STOPPED_S = 30.0


@dataclass(frozen=True)
class Memory:
    """Resident bytes and open descriptors of both processes."""

    api_bytes: int
    engine_bytes: int
    api_files: int
    engine_files: int


@dataclass
class Serving:
    """A running server with one model."""

    url: str
    model: str
    process: subprocess.Popen[bytes]
    log: Path

    def engine_pid(self) -> int | None:
        """The engine's process, the server's one child; None while there is none."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None

    def memory(self) -> Memory:
        """What both processes hold now."""
        engine = self.engine_pid()
        assert engine is not None, "there is no engine"
        api = self.process.pid
        return Memory(
            _resident_bytes(api), _resident_bytes(engine), _open_files(api), _open_files(engine)
        )

    def count(self, name: str) -> float:
        """A metric of the one model, by its name without labels."""
        page = httpx.get(f"{self.url}/metrics", timeout=5).text
        values = [
            float(line.rpartition(" ")[2])
            for line in page.splitlines()
            if line.partition("{")[0].partition(" ")[0] == name
        ]
        assert values, f"no metric is called {name}"
        return sum(values)

    def idle_within(self, seconds: float) -> dict[str, float]:
        """Waits until nothing runs, waits or holds a page; what still does when time is up."""
        names = ("freehold_sequences_running", "freehold_sequences_waiting", "freehold_kv_usage")
        deadline = time.monotonic() + seconds
        while True:
            held = {name: value for name in names if (value := self.count(name))}
            if not held or time.monotonic() > deadline:
                return held
            time.sleep(0.1)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of the server's log about this kind of event."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{")
        return [line for line in lines if line["event"] == name]


@contextmanager
def serving(model: Path, home: Path, *, kv_memory: str) -> Iterator[Serving]:
    """A server over this model with an empty home."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("FREEHOLD_")}
    environment |= {"FREEHOLD_HOME": str(home), "FREEHOLD_DRAIN_S": str(_DRAIN_S)}
    if isa := os.environ.get("FREEHOLD_ISA"):
        environment["FREEHOLD_ISA"] = isa
    command = [sys.executable, "-m", "freehold", "serve", str(model), "--port", "0"]
    command += ["--context", "2048", "--log-format", "json", "--kv-memory", kv_memory]
    home.mkdir(parents=True, exist_ok=True)
    log = home / "log"
    with log.open("w") as file, subprocess.Popen(command, stderr=file, env=environment) as process:
        try:
            yield _started(process, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOPPED_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _started(process: subprocess.Popen[bytes], log: Path) -> Serving:
    """Waits for the line that says what runs."""
    deadline = time.monotonic() + _STARTED_S
    while process.poll() is None and time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            facts = json.loads(line) if line.startswith("{") else {}
            if facts.get("event") == "started":
                (model,) = facts["models"]
                return Serving(facts["url"], model["model"], process, log)
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
