"""Slots for recurrent states: one for each sequence that runs, the others for snapshots.

Room: engine. Plain data; knows neither model nor array: whoever makes the list says how a slot is
copied.

A recurrent state holds a whole text in a few numbers and cannot be cut, so a sequence that begins
like an earlier one needs the state as it was where both still agreed. A snapshot is such a state,
named by the node of the page that ends there (`engine.pages`). Snapshots take slots that no
sequence needs and give them up at once when one does, the one unused longest first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

__all__ = ["StateList"]


class StateList:
    """Hands out the slots 0 .. count - 1; with none, sequences have no states."""

    def __init__(self, count: int, copy: Callable[[int, int], None]) -> None:
        self.count = count
        self._copy = copy
        self._free = list(range(count - 1, -1, -1))
        self._snapshots: OrderedDict[int, int] = OrderedDict()  # node -> slot, first to go first

    @property
    def num_slots_free(self) -> int:
        """Slots that no sequence has."""
        return len(self._free) + len(self._snapshots)

    @property
    def num_snapshots(self) -> int:
        """States that a later sequence can go on from."""
        return len(self._snapshots)

    def __contains__(self, node: int) -> bool:
        return node in self._snapshots

    def take(self, node: int | None = None) -> int:
        """A free slot, with the state of a snapshot in it if a node is named.

        The last free slot may be that snapshot's own: then it moves in, and is one no more.
        """
        if node is not None:
            self._snapshots.move_to_end(node)
        slot = self._free.pop() if self._free else self._snapshots.popitem(last=False)[1]
        if node is not None and node in self._snapshots:
            self._copy(self._snapshots[node], slot)
        return slot

    def give(self, slot: int) -> None:
        """Takes a sequence's slot back."""
        self._free.append(slot)

    def keep(self, node: int, slot: int, *, pushes: bool) -> bool:
        """Makes a snapshot of a sequence's state; whether there was room for it.

        One that `pushes` may take the slot of another and is the last to go; the others are made
        where a slot is free, and are the first to go.
        """
        if node in self._snapshots:
            return True
        if not self._free and not (pushes and self._snapshots):
            return False
        kept = self._free.pop() if self._free else self._snapshots.popitem(last=False)[1]
        self._copy(slot, kept)
        self._snapshots[node] = kept
        self._snapshots.move_to_end(node, last=pushes)
        return True

    def demote(self, node: int) -> None:
        """Makes a snapshot, if it still is one, the first to go."""
        if node in self._snapshots:
            self._snapshots.move_to_end(node, last=False)

    def forget(self, node: int) -> None:
        """Gives a snapshot's slot back, if it still is one."""
        if node in self._snapshots:
            self._free.append(self._snapshots.pop(node))

    def check(self, held: list[int]) -> None:
        """Asserts that every slot is held by a sequence, free, or a snapshot, and only once."""
        places = [*held, *self._free, *self._snapshots.values()]
        assert sorted(places) == list(range(self.count)), "a slot is lost or in two places"
