"""One process at a time: a lock file that the kernel lets go of even if we are killed.

Room: library. Knows a file; must not know what is guarded.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["only_one"]

_POLL_S = 0.2


@contextmanager
def only_one(lock: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file, calling `waiting` now and then while another process has it.

    Mutates: creates the file and the folders above it. It stays, since a waiter may have it open.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(_POLL_S)
        yield
