"""Which server runs for a home: a small file that only its owner can read.

Room: server. `freehold ps` and `freehold stop` read it, so it loads nothing heavy; must not know
HTTP.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Standing", "announce", "process_birth", "standing_server", "withdraw"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A running server. Units: `started` in seconds since 1970, `birth` in the kernel's ticks."""

    pid: int
    birth: int
    url: str
    socket: str | None
    started: float
    version: str


def announce(home: Path, *, url: str, socket: Path | None, version: str) -> Standing:
    """Write down that this process is the home's server. Raises: OSError."""
    standing = Standing(
        pid=os.getpid(),
        birth=process_birth(os.getpid()) or 0,
        url=url,
        socket=None if socket is None else str(socket),
        started=time.time(),
        version=version,
    )
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = _place(home).with_suffix(f".{standing.pid}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(standing), file)
    fresh.replace(_place(home))
    return standing


def withdraw(home: Path) -> None:
    """Remove this process's note, and leave another's alone."""
    standing = _read(home)
    if standing is not None and standing.pid == os.getpid():
        _place(home).unlink(missing_ok=True)


def standing_server(home: Path) -> Standing | None:
    """The home's server; None when there is none, or the note is of a process that has ended."""
    standing = _read(home)
    if standing is None or process_birth(standing.pid) != standing.birth:
        return None
    return standing


def process_birth(pid: int) -> int | None:
    """When a process began, which tells it from a later one with the same number.

    None when there is no such process. Source: proc(5), field 22 of stat.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    # The second field is a name in parentheses, which may hold anything.
    fields = stat.rpartition(")")[2].split()
    state, birth = fields[0], fields[19]
    return None if state in "ZX" else int(birth)


def _place(home: Path) -> Path:
    return home / "serve.json"


def _read(home: Path) -> Standing | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Standing(**json.loads(_place(home).read_text("utf-8")))
    return None
