"""Runs a program that a model wrote, where it can do no harm: or says that this machine cannot.

Room: evals. Knows processes; must not know tasks.

`Isolation.full` promises: no network, no file of this machine but Python's own library, a folder in
memory that is gone afterwards, no other process to be seen or left behind, and limits on time,
memory, output and what is written. It takes Linux with user namespaces and Landlock. Where any part
is missing nothing runs. `Isolation.limits` promises the limits alone, and must be asked for.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from freehold.errors import NoIsolation

__all__ = ["Isolation", "Limits", "Ran", "run_program"]

_CHILD = Path(__file__).with_name("sandbox_child.py")
_READ_BYTES = 1 << 16
_SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/usr/share/zoneinfo")


class Isolation(StrEnum):
    """How a program is shut in."""

    full = "full"
    limits = "limits"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program may use. Units: seconds of the clock, bytes."""

    wall_s: float = 10.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 16
    written_bytes: int = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a program ended: "passed" at its end, else why not; with the beginning of its output."""

    status: str
    output: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether it ran to its end."""
        return self.status == "passed"


def run_program(
    program: str, *, isolation: Isolation = Isolation.full, limits: Limits | None = None
) -> Ran:
    """Runs Python source to its end in a process of its own. Raises: NoIsolation.

    A program that ends itself before its last line has not passed.
    """
    limits = limits or Limits()
    if isolation is Isolation.full and sys.platform != "linux":
        raise _lacking("Linux")
    with tempfile.TemporaryDirectory(prefix="freehold-", ignore_cleanup_errors=True) as folder:
        return _run(program, folder, isolation, limits)


def _run(program: str, folder: str, isolation: Isolation, limits: Limits) -> Ran:
    word = secrets.token_hex(16)
    reading, writing = os.pipe()
    settings = {
        "word": word,
        "full": isolation is Isolation.full,
        "folder": folder,
        "folder_bytes": limits.written_bytes,
        "file_bytes": limits.written_bytes,
        "memory_bytes": limits.memory_bytes,
        "cpu_s": int(limits.wall_s) + 1,
        "report": writing,
        "readable": [os.path.dirname(os.__file__), *_SYSTEM, *_DEVICES],  # noqa: PTH120
    }
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_CHILD), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(writing,),
        cwd=folder,
        env={"LC_ALL": "C.UTF-8", "HOME": folder, "PYTHONHASHSEED": "0"},
        start_new_session=True,
    )
    os.close(writing)
    try:
        output, why = _watched(process, program, started + limits.wall_s, limits.output_bytes)
    finally:
        _kill(process)
        with os.fdopen(reading, "rb") as report:
            said = report.read(4096).decode(errors="replace").splitlines()
    return Ran(
        status=why or _status(said, word, isolation),
        output=output.decode(errors="replace"),
        seconds=time.monotonic() - started,
    )


def _watched(
    process: subprocess.Popen[bytes], program: str, ends: float, most: int
) -> tuple[bytes, str]:
    """Feeds the program in and reads what it writes, until its end or a limit."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(program.encode(errors="replace"))
        process.stdin.close()
    output = b""
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while (left := ends - time.monotonic()) > 0:
            if not ready.select(left):
                break
            piece = _piece(process.stdout)
            if not piece:
                return _ended(process, output, ends)
            output += piece
            if len(output) > most:
                return output[:most], "too much output"
    return output, "timeout"


def _piece(stream: IO[bytes]) -> bytes:
    return os.read(stream.fileno(), _READ_BYTES)


def _ended(process: subprocess.Popen[bytes], output: bytes, ends: float) -> tuple[bytes, str]:
    """It closed its output, which is not yet its end."""
    try:
        process.wait(max(0.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        return output, "timeout"
    return output, ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and its group; what it started in a namespace of its own goes with it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _status(said: list[str], word: str, isolation: Isolation) -> str:
    first, last = (said or [""])[0], (said or [""])[-1]
    if first.startswith("cannot "):
        if isolation is Isolation.full:
            raise _lacking(first.removeprefix("cannot "))
        return "not started"
    if first != "ready":
        return "not started"
    if last == word:
        return "passed"
    return last if last != "ready" else "killed"


def _lacking(what: str) -> NoIsolation:
    return NoIsolation(
        "this machine cannot shut in code that a model wrote, so none is run",
        value=what,
        expected="Linux with user namespaces and Landlock",
        found=f"no {what}",
        hint="--isolation limits bounds time, memory and output alone: files and network are open",
    )
