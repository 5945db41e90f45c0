"""How long models stay in memory after an answer: Ollama's keep_alive.

Room: server. Knows durations and residents; must not know requests. Where no request said how
long, the memory budget decides, as on the other surfaces.
"""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from freehold.errors import BadRequest, UnknownModel
from freehold.server.routes.ollama.requests import KeepAlive

if TYPE_CHECKING:
    from freehold.server.residents import LoadedModel, Residents

__all__ = ["Keep", "Keeping", "seconds_of"]

_RECHECK_S = 1.0
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT = "|".join(sorted(_UNITS_S, key=len, reverse=True))
_DURATION = re.compile(rf"([-+]?)((?:\d+(?:\.\d*)?|\.\d+)(?:{_UNIT}))+", re.ASCII)
_PART = re.compile(rf"(\d+(?:\.\d*)?|\.\d+)({_UNIT})", re.ASCII)
_LONGEST_S = 100 * 365 * 86400.0


def seconds_of(keep_alive: KeepAlive | None) -> float | None:
    """A keep_alive in seconds, infinite where it is negative; None where nobody said.

    Raises: BadRequest for what is neither a number of seconds nor a duration like "1h30m".
    """
    if keep_alive is None:
        return None
    seconds = _duration(keep_alive) if isinstance(keep_alive, str) else float(keep_alive)
    if seconds is None or math.isnan(seconds):
        raise BadRequest(
            "keep_alive is no duration",
            param="keep_alive",
            expected='a number of seconds, or a duration like "5m", "1h30m" or "-1s"',
        )
    return seconds if 0 <= seconds <= _LONGEST_S else math.inf


def _duration(text: str) -> float | None:
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text[:100])
    if match is None:
        return None
    total = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    return -total if match.group(1) == "-" else total


@dataclass
class _Wait:
    """A model's time to go, and what it had done when the clock was set."""

    seconds: float
    until: datetime
    handle: asyncio.TimerHandle
    work: int


class Keeping:
    """The clocks of models that were asked to leave after a while."""

    def __init__(self, residents: Residents) -> None:
        self._residents = residents
        self._waits: dict[str, _Wait] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def until(self, name: str) -> datetime | None:
        """When a model leaves if nobody uses it; None where it may stay."""
        wait = self._waits.get(name)
        return wait.until if wait else None

    async def used(self, name: str, seconds: float | None) -> None:
        """A request has ended: unload the model after so long, now for 0, never for infinity.

        None leaves what an earlier request said, counted from now.
        """
        wait = self._waits.get(name)
        if seconds is None:
            if wait is not None:
                self._set(name, wait.seconds)
            return
        self._forget(name)
        if seconds == 0:
            await self._leave(name, 0.0)
        elif seconds != math.inf:
            self._set(name, seconds)

    def _set(self, name: str, seconds: float, *, after_s: float | None = None) -> None:
        """Mutates: the model's clock, to ring after `after_s` or else after `seconds`."""
        self._forget(name)
        delay = seconds if after_s is None else after_s
        loop = asyncio.get_running_loop()
        handle = loop.call_later(delay, self._ring, name)
        until = datetime.now(UTC) + timedelta(seconds=delay)
        loaded = self._loaded(name)
        self._waits[name] = _Wait(seconds, until, handle, _work(loaded) if loaded else 0)

    def _forget(self, name: str) -> None:
        wait = self._waits.pop(name, None)
        if wait is not None:
            wait.handle.cancel()

    def _ring(self, name: str) -> None:
        wait = self._waits.pop(name)
        loaded = self._loaded(name)
        if loaded is not None and _work(loaded) != wait.work:
            # Other surfaces used it meanwhile.
            self._set(name, wait.seconds)
            return
        task = asyncio.ensure_future(self._leave(name, wait.seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _leave(self, name: str, seconds: float) -> None:
        loaded = self._loaded(name)
        if loaded is None:
            return
        if loaded.running or loaded.waiting:
            self._set(name, seconds, after_s=max(seconds, _RECHECK_S))
            return
        with suppress(UnknownModel):  # somebody else was faster
            await self._residents.unload(name)

    def _loaded(self, name: str) -> LoadedModel | None:
        return next((m for m in self._residents.loaded() if m.card.id == name), None)


def _work(loaded: LoadedModel) -> int:
    return loaded.stats.prompt_tokens_total + loaded.stats.generation_tokens_total


def _keeping(request: Request) -> Keeping:
    """The one of this app, made when it is first needed."""
    state = request.app.state
    keeping = getattr(state, "ollama_keeping", None)
    if not isinstance(keeping, Keeping):
        keeping = state.ollama_keeping = Keeping(state.house.residents)
    return keeping


Keep = Annotated[Keeping, Depends(_keeping)]
