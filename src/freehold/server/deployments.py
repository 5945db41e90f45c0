"""Writes into the record which weights this server loaded: once for each model.

Room: server. Works beside the answers and never holds one up; must not know any surface.

A file that was hashed before is known at once. One that never was is hashed in a thread of the
lowest priority once the model answers, and recorded then: a server that ends before leaves no event
of it. `freehold run` is no deployment and records nothing.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.errors import FreeholdError
from freehold.library.identity import identity_of
from freehold.library.record import record_served, weights_at

if TYPE_CHECKING:
    from freehold.store import Events

__all__ = ["Deployments"]

_log = logging.getLogger(__name__)

_LOWEST_PRIORITY = 19


class _Ended(Exception):  # noqa: N818 - it ends a loop; nobody made a mistake
    """The server ends while a file is being hashed."""


class Deployments:
    """What one life of the server loaded. `url` is where it answers."""

    def __init__(self, events: Events, home: Path, *, url: str) -> None:
        self._events = events
        self._home = home
        self._url = url
        self._seen: set[tuple[str, Path]] = set()
        self._waiting: queue.Queue[tuple[str, Path, dict[str, Any]] | None] = queue.Queue()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def loaded(self, name: str, path: Path, info: Mapping[str, Any]) -> None:
        """A model was loaded and answers from now on. Returns at once."""
        if (name, path) in self._seen:
            return
        self._seen.add((name, path))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="freehold-record", daemon=True)
            self._thread.start()
        facts = {key: info[key] for key in ("isa", "threads") if key in info}
        self._waiting.put((name, path, {"url": self._url, **facts}))

    def close(self) -> None:
        """Stop, at most one read into a file that is being hashed."""
        self._ending.set()
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while (job := self._waiting.get()) is not None:
            try:
                self._record(*job)
            except _Ended:
                return
            except (FreeholdError, OSError) as error:
                _log.warning("%s is served but could not be recorded: %s", job[0], error)

    def _record(self, name: str, path: Path, server: dict[str, Any]) -> None:
        identity = identity_of(path, home=self._home, progress=self._check_ending)
        recorded = weights_at(self._events.all(), path)
        if recorded is not None and recorded != identity.digest:
            _log.warning(
                "the weights at %s are not the recorded ones: `freehold deed %s --verify` says"
                " where they differ",
                path,
                name,
            )
        record_served(self._events, identity, name=name, location=path, server=server)

    def _check_ending(self, phase: str, done: int, total: int) -> None:
        del phase, done, total
        if self._ending.is_set():
            raise _Ended
