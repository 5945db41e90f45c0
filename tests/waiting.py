"""Waiting for what must come: as long as a busy machine may need, and no longer than it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["PATIENCE_S", "soon"]

# What takes longer hangs. No claim about speed: those say their own number.
PATIENCE_S = 60.0


def soon(is_so: Callable[[], object], what: str = "it") -> None:
    """Returns once it is so. Raises: AssertionError when that never comes."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.02)
