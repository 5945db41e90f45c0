"""What is known of files by their looks: digests, until a file's size, times or inode change.

Room: library. Knows stat and small JSON files; must not know what is hashed or why.

The cache saves time and proves nothing: `freehold deed --verify` does not ask it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.config import resolve_settings

__all__ = ["HashCache", "Stamp"]

# A change within the clock's own tick after the hashing would leave the times as they were.
_SETTLED_NS = 50_000_000
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """A file's looks. The time of the inode's change is in it: nobody can set that one back."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The looks of the file now. Raises: OSError."""
        status = path.stat()
        return cls(
            size_bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
            changed_ns=status.st_ctime_ns,
            inode=status.st_ino,
            device=status.st_dev,
        )

    def is_settled(self) -> bool:
        """Whether any change from now on must show in the times. Waits a moment for a new file."""
        coarse = self.changed_ns % 1_000_000_000 == 0  # a file system that counts whole seconds
        settled_ns = self.changed_ns + (2_000_000_000 if coarse else _SETTLED_NS)
        if 0 <= settled_ns - time.time_ns() <= _SETTLED_NS:
            time.sleep(_SETTLED_NS / 1e9)
        return settled_ns < time.time_ns()


class HashCache:
    """One small file for each path, under `hashes/` of the home. Its loss costs time only."""

    def __init__(self, home: Path | None = None) -> None:
        self._folder = (resolve_settings().home if home is None else home) / "hashes"

    def get(self, path: Path) -> dict[str, Any] | None:
        """What was put for this path, if the file still looks as it did then."""
        try:
            with self._place(path).open("rb") as source:
                entry = json.loads(source.read(_MOST_BYTES))
            matches = entry["stamp"] == vars(Stamp.of(path))
            facts = entry["facts"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return facts if matches and isinstance(facts, dict) else None

    def put(self, path: Path, stamp: Stamp, facts: dict[str, object]) -> None:
        """Keep facts about the file that looks so. A home that cannot be written keeps nothing."""
        place = self._place(path)
        fresh = place.with_name(f"{place.name}.{os.getpid()}-{threading.get_ident()}")
        entry = {"path": os.path.realpath(path), "stamp": vars(stamp), "facts": facts}
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(json.dumps(entry), "utf-8")
            fresh.replace(place)
        except OSError:
            return

    def _place(self, path: Path) -> Path:
        name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
        return self._folder / f"{name[:32]}.json"
