"""The adapters a model has beside its own weights: which, under what index, and who uses them.

Room: engine. Must not know files or families. One thread uses it, between steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from freehold.errors import BadRequest, FreeholdError, UnknownModel

__all__ = ["MAX_ADAPTERS", "Adapters", "Attachable"]

MAX_ADAPTERS = 256


class Attachable(Protocol):
    """An adapter packed for the model; see `models/adapting.py`."""

    @property
    def bytes(self) -> int:
        """Its size in memory."""

    def attach(self, index: int) -> None:
        """Adds it to the model."""

    def detach(self, index: int) -> None:
        """Takes it away."""


@dataclass
class _Kept:
    adapter: Attachable
    index: int
    uses: int = 0
    leaving: bool = False


class Adapters:
    """Adapters by id. One that is removed stays until the last request that uses it has ended."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._leaving: dict[str, _Kept] = {}
        self._failed: dict[str, FreeholdError] = {}

    @property
    def bytes(self) -> dict[str, int]:
        """What each takes, those that are leaving included."""
        return {name: one.adapter.bytes for name, one in (self._kept | self._leaving).items()}

    @property
    def failures(self) -> dict[str, FreeholdError]:
        """Why those that could not be loaded are not there."""
        return dict(self._failed)

    def add(self, name: str, adapter: Attachable) -> None:
        """Attaches an adapter. Raises: BadRequest when there are too many, or one of this id."""
        used = {one.index for one in (*self._kept.values(), *self._leaving.values())}
        if len(used) >= MAX_ADAPTERS or name in self._kept or name in self._leaving:
            raise BadRequest(
                "the adapter cannot be added",
                value=name,
                expected=f"at most {MAX_ADAPTERS} adapters of a model, each of its own id",
                found=f"{len(used)} adapters",
                hint="unload one first",
            )
        index = next(i for i in range(MAX_ADAPTERS) if i not in used)
        adapter.attach(index)
        self._kept[name] = _Kept(adapter, index)
        self._failed.pop(name, None)

    def fail(self, name: str, error: FreeholdError) -> None:
        """Keeps why an adapter is not there, for those who ask for it."""
        self._failed[name] = error

    def remove(self, name: str) -> None:
        """Takes an adapter away, at once or when its last request ends. Unknown ids are ignored."""
        self._failed.pop(name, None)
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._leaving[name] = kept
            self._detach_unused(name)

    def index(self, name: str) -> int:
        """The index under which requests use it; -1 for none, which is called "".

        Raises: UnknownModel; what loading it raised.
        """
        if not name:
            return -1
        if name in self._failed:
            raise self._failed[name]
        if name not in self._kept:
            raise UnknownModel("the adapter was unloaded", value=name, hint="ask for another model")
        return self._kept[name].index

    def hold(self, name: str) -> None:
        """One more request uses the adapter."""
        if name:
            self._kept[name].uses += 1

    def release(self, name: str) -> None:
        """A request that used the adapter has ended."""
        if name:
            (self._kept.get(name) or self._leaving[name]).uses -= 1
            self._detach_unused(name)

    def _detach_unused(self, name: str) -> None:
        kept = self._leaving.get(name)
        if kept is not None and kept.uses == 0:
            del self._leaving[name]
            kept.adapter.detach(kept.index)
