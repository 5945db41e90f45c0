"""An event loop whose clock jumps to the next timer: no wait is real, none is ever late.

For code whose only waits are on the loop's timers.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run"]

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """In place of a wait, moves the clock on by as much."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left to wait for"
        self.now_s += max(timeout, 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run(script: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run does, in no time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(script)
