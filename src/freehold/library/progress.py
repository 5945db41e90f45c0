"""How long work is watched: a phase, what is done of it, and what there is in all.

Room: library. Must not know how progress is shown.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""Called often, with a phase, what is done of it and what there is in all; both mostly in bytes."""


def silent(phase: str, done: int, total: int) -> None:
    """A Progress that nobody sees."""
    del phase, done, total
