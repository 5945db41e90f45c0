"""The two servers that are compared: started on a file, asked whether they are ready, ended.

Room: benchmarks. Knows their command lines; must not know what they are asked.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from benchmarks.workers import ROOT

_READY_S = 60.0
_END_S = 15.0


@dataclass(kw_only=True)
class Server:
    """A server process over one file; use it as a context."""

    name: str
    path: Path
    command: list[str]
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._wait_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    @property
    def model(self) -> str:
        """The id of its one model, or of the first."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}/v1/models") as answer:
            return str(json.load(answer)["data"][0]["id"])

    def cpu_s(self) -> float:
        """Processor seconds that it and its children have used so far, all threads."""
        assert self._process is not None
        return sum(map(_cpu_s, _family(self._process.pid)))

    def memory_bytes(self) -> int:
        """Resident bytes of it and its children."""
        assert self._process is not None
        return sum(_resident_bytes(pid) for pid in _family(self._process.pid))

    def _wait_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _READY_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://{self.host}:{self.port}/health") as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        self._log.seek(0)
        raise RuntimeError(f"{self.name} did not start:\n{self._log.read().decode()[-3000:]}")


def freehold(python: str, path: Path, *, threads: int, home: Path) -> Server:
    """Ours, as `freehold serve` starts it."""
    port = _free_port()
    command = [python, "-m", "freehold", "serve", str(path), "--port", str(port)]
    command += ["--threads", str(threads)]
    environment = {"FREEHOLD_HOME": str(home)}
    return Server(name="freehold", path=path, command=command, port=port, environment=environment)


def llama_server(
    program: Path,
    path: Path,
    *,
    slots: int,
    slot_tokens: int,
    threads: int,
    options: tuple[str, ...] = (),
) -> Server:
    """llama.cpp's, with a slot for each stream; everything unnamed is as by default.

    Continuous batching, the prompt cache and flash attention "auto" are its defaults.
    """
    port = _free_port()
    command = [str(program), "--model", str(path), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--parallel", str(slots), "--ctx-size", str(slots * slot_tokens)]
    command += ["--threads", str(threads), "--no-ui", "--offline", *options]
    return Server(name="llama-server", path=path, command=command, port=port)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _family(pid: int) -> list[int]:
    """A process and its children. Source: proc(5)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
