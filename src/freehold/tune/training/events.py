"""What a training says while it runs: JSON lines in a file, each one once.

Room: tune. Must not know torch or who reads. A line is whole on the disk before the next is begun;
a run that goes on after a crash repeats steps, but not what was already said of them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["EventLog", "read_events"]

_LARGEST_BYTES = 1 << 30


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a file, without a last line that was cut off; none when there is no file."""
    return _whole(path)[0]


def _whole(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The events, and how many bytes they take."""
    if not path.exists():
        return [], 0
    raw = path.read_bytes()[:_LARGEST_BYTES]
    events: list[dict[str, Any]] = []
    end = 0
    for line in raw.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            said = json.loads(line)
        except ValueError:
            break
        events.append(said)
        end += len(line)
    return events, end


class EventLog:
    """The file of events; `on_event` hears each one that is new."""

    def __init__(self, path: Path, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        events, end = _whole(path)
        self.events = events
        self._on_event = on_event
        self._said = {(event.get("kind"), event.get("step")) for event in events}
        self._file = path.open("ab", buffering=0)  # what failed is not tried again at the end
        if self._file.tell() > end:  # a line that a crash cut off
            self._file.truncate(end)
            self._file.seek(end)

    @property
    def last(self) -> int:
        """The number of the last event, 0 before the first."""
        return int(self.events[-1]["seq"]) if self.events else 0

    def say(self, kind: str, step: int | None, facts: Mapping[str, Any]) -> None:
        """Writes an event, unless one of this kind about this step is there. Raises: OSError."""
        if step is not None and (kind, step) in self._said:
            return
        event = {"seq": self.last + 1, "at": round(time.time(), 3), "kind": kind}
        event |= {} if step is None else {"step": step}
        event |= facts
        line = json.dumps(event, allow_nan=False, separators=(",", ":")) + "\n"
        rest = memoryview(line.encode())
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
        self.events.append(event)
        self._said.add((kind, step))
        self._on_event(event)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
