"""What both memory probes ask for, and how they report: one word and their memory a line.

Room: benchmarks. Must not use freehold or any peer.
"""

from __future__ import annotations

from pathlib import Path

SHORT = [(7 + 31 * index) % 30_000 for index in range(8)]
PROMPT = [(7 + 31 * index) % 30_000 for index in range(512)]
GENERATE = 32
CONTEXT = 1024


def say(event: str) -> None:
    """Print the event with this process's present and highest resident bytes."""
    status = Path("/proc/self/status").read_text()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if "kB" in line}
    print(event, kib["VmRSS"] * 1024, kib["VmHWM"] * 1024, flush=True)
