"""A process per side that stays alive and runs one thing when told to, sleeping in between.

Room: benchmarks. Knows how requests travel (one JSON object a line); must not know what any
side does with them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Worker:
    """The parent's end: start, ask, stop.

    Raises: RuntimeError when the process dies; why is on its standard error.
    """

    def __init__(self, module: str, *, python: str = sys.executable, threads: int = 2) -> None:
        self.module = module
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="false")
        self._process = subprocess.Popen(
            [python, "-m", module],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, op: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run one operation over there and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"op": op, **(arguments or {})}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RuntimeError(f"{self.module} is gone before {op!r}") from error
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.module} died in {op!r}, status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def cpu_s(self) -> float:
        """Processor seconds the process has used so far, all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def status_bytes(self, field: str) -> int:
        """A memory line of /proc/PID/status, such as VmHWM, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(field + ":"))
        return int(line.split()[1]) * 1024

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(handlers: Mapping[str, Handler]) -> None:
    """The child's end: answer requests from standard input until it closes.

    Whatever native code prints goes to standard error, so that it never mixes with answers.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        op = request.pop("op")
        answers.write(json.dumps(handlers[op](request)) + "\n")
        answers.flush()
