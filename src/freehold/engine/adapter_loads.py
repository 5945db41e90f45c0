"""Loads adapters beside the steps of a running engine.

Room: engine. Runs in the engine's process; must not know HTTP or text.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from freehold.engine import wire
from freehold.engine.adapters import Adapters
from freehold.errors import FreeholdError
from freehold.loading import Loaded
from freehold.loading.adapters import load_adapter
from freehold.models.adapting import Adapter

__all__ = ["AdapterLoads"]


class AdapterLoads:
    """Files are read and packed in a thread of their own; attaching is done between two steps."""

    def __init__(self, base: Loaded, adapters: Adapters, *, bits: int) -> None:
        self._base, self._adapters, self._bits = base, adapters, bits
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="adapters")
        self._loads: dict[str, Future[Adapter]] = {}

    @property
    def pending(self) -> bool:
        """Whether one is being loaded."""
        return bool(self._loads)

    def load_now(self, name: str, path: str) -> None:
        """Loads one before the first step. One that fails is refused to those who ask for it."""
        try:
            self._adapters.add(name, self._read(path))
        except FreeholdError as error:
            self._adapters.fail(name, error)

    def begin(self, name: str, path: str) -> None:
        """Begins to load one; `settle` ends it."""
        self._loads[name] = self._beside.submit(self._read, path)

    def settle(self, send: Callable[[dict[str, Any]], None], *, wait_s: float = 0.0) -> None:
        """Attaches what has been loaded and tells who asked; waits a little where told to."""
        if wait_s and self._loads:
            wait(self._loads.values(), wait_s, "FIRST_COMPLETED")
        for name in [name for name, load in self._loads.items() if load.done()]:
            try:
                adapter = self._loads.pop(name).result()
                self._adapters.add(name, adapter)
            except FreeholdError as error:
                send({"refused": f"adapter-{name}", "error": wire.error_to(error)})
            else:
                send({"accepted": f"adapter-{name}", "bytes": adapter.bytes})

    def _read(self, path: str) -> Adapter:
        return load_adapter(Path(path), self._base, bits=self._bits)
