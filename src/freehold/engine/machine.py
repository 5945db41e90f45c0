"""This machine as the operating system describes it: its memory and its processor.

Room: engine. Must not know what runs here.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "processor_name", "read_memory"]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Source: /proc/meminfo, and the control group's limit where there is one."""

    total_bytes: int
    available_bytes: int
    limit_bytes: int | None

    @property
    def usable_bytes(self) -> int:
        """What one program may take when nothing else runs, within the control group's limit."""
        return min(self.total_bytes, self.limit_bytes or self.total_bytes)


def read_memory() -> Memory:
    """The memory as it is now."""
    table = {}
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        name, _, rest = line.partition(":")
        table[name] = int(rest.split()[0]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text("ascii").strip() if limit.is_file() else "max"
    return Memory(
        total_bytes=table["MemTotal"],
        available_bytes=table["MemAvailable"],
        limit_bytes=None if text == "max" else int(text),
    )


def processor_name() -> str:
    """The processor's own name, with how many cores this process may use."""
    name = platform.processor() or platform.machine()
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text("utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = " ".join(value.split())
                break
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
