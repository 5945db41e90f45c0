"""The pages of the KV pool: who holds which, and which full ones can be met again.

Room: engine. Plain data; knows neither model nor array.

A full page is remembered by its tokens and by the page before it, so that a later sequence which
begins with the same tokens shares it. A page nobody holds stays remembered until its room is
needed; the one unused longest goes first. Whoever has another `scope` never meets a page, because
what is found tells what others asked.

Where sequences also have recurrent states, a prefix is shared up to its last page with a snapshot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from freehold.engine.states import StateList
from freehold.errors import OutOfPages

__all__ = ["PageList", "Sequence"]

_Key = tuple[Hashable, tuple[int, ...]]


@dataclass
class Sequence:
    """One text in the cache: its pages in token order and how many tokens they hold.

    `nodes` names the remembered pages among them, from the first on; `scope` is who may share.
    `slot` is where its recurrent state is, if the model has one; `answered` the node of the last
    snapshot that was taken while it answered.
    """

    pages: list[int] = field(default_factory=list)
    length: int = 0
    nodes: list[int] = field(default_factory=list)
    scope: Hashable = ""
    slot: int | None = None
    answered: int | None = None


class PageList:
    """Hands out the page ids 0 .. count - 1; a page may have several holders once it is full.

    With `states`, whoever has pages has a slot too.
    """

    def __init__(self, count: int, page_tokens: int, states: StateList | None = None) -> None:
        self.count = count
        self.page_tokens = page_tokens
        self.states = states
        self._free = list(range(count - 1, -1, -1))
        self._holders = [0] * count
        self._page_of: dict[_Key, tuple[int, int]] = {}  # what it holds -> page, node
        self._key_of: dict[int, _Key] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # remembered, held by nobody
        self._last_node = 0

    @property
    def num_pages_free(self) -> int:
        """Pages nobody holds."""
        return len(self._free) + len(self._idle)

    @property
    def has_slot(self) -> bool:
        """Whether one more sequence can have a state, or none needs one."""
        return self.states is None or self.states.num_slots_free > 0

    def extend(self, sequence: Sequence, length: int) -> None:
        """Gives the sequence pages for `length` tokens, and a slot for its state.

        Mutates: sequence.pages, sequence.slot. Raises: OutOfPages, leaving everything as it was.
        """
        wanted = -(-length // self.page_tokens) - len(sequence.pages)
        if wanted <= 0 and (self.states is None or sequence.slot is not None):
            return
        if wanted > self.num_pages_free:
            raise OutOfPages(
                "the KV cache has no room for these tokens",
                value=length,
                expected=f"at most {self.num_pages_free} more pages of {self.page_tokens} tokens",
                found=f"{wanted} wanted",
            )
        self.seat(sequence)
        for _ in range(wanted):
            page = self._free.pop() if self._free else self._forget()
            self._holders[page] = 1
            sequence.pages.append(page)

    def seat(self, sequence: Sequence) -> None:
        """Gives the sequence a slot, with the state at the end of its pages if it has any.

        Mutates: sequence.slot. Raises: OutOfPages.
        """
        if self.states is None or sequence.slot is not None:
            return
        if not self.has_slot:
            raise OutOfPages(
                "there is no room for the state of one more sequence",
                expected=f"at most {self.states.count} sequences at once",
                found="one more",
            )
        sequence.slot = self.states.take(sequence.nodes[-1] if sequence.nodes else None)

    def match(self, tokens: list[int], scope: Hashable) -> Sequence:
        """A new sequence over the remembered pages that `tokens` begin with.

        At least one token is left to compute, so that there are logits to go on from. Where there
        are states, `seat` must be called before anything else is, or `release`.
        """
        known = self._known(tokens, scope)
        if self.states is not None:
            while known and known[-1][1] not in self.states:
                known.pop()
        for page, _ in known:
            if self._holders[page] == 0:
                del self._idle[page]
            self._holders[page] += 1
        pages, nodes = [page for page, _ in known], [node for _, node in known]
        return Sequence(pages, len(pages) * self.page_tokens, nodes, scope)

    def _known(self, tokens: list[int], scope: Hashable) -> list[tuple[int, int]]:
        """The remembered pages that `tokens` begin with, and their nodes."""
        found: list[tuple[int, int]] = []
        before: Hashable = scope
        size = self.page_tokens
        for start in range(0, (len(tokens) - 1) // size * size, size):
            known = self._page_of.get((before, tuple(tokens[start : start + size])))
            if known is None:
                break
            found.append(known)
            before = known[1]
        return found

    def remember(self, sequence: Sequence, tokens: list[int]) -> None:
        """Remembers the sequence's full pages; `tokens` are its first ones, `length` or more.

        Mutates: sequence.nodes, sequence.answered.
        """
        size = self.page_tokens
        for index in range(len(sequence.nodes), sequence.length // size):
            before = sequence.nodes[-1] if sequence.nodes else sequence.scope
            key = (before, tuple(tokens[index * size : (index + 1) * size]))
            known = self._page_of.get(key)
            if known is None:
                self._last_node += 1
                page = sequence.pages[index]
                known = self._page_of[key] = (page, self._last_node)
                self._key_of[page] = key
            sequence.nodes.append(known[1])
        if self.states is not None and sequence.length and sequence.length % size == 0:
            self._keep_state(self.states, sequence, len(tokens) - sequence.length)

    def _keep_state(self, states: StateList, sequence: Sequence, left: int) -> None:
        """Makes a snapshot where a page ends; `left` known tokens are still to come.

        Two are worth another's slot: the one near the end of a prompt, from which the prompt can
        be asked again, and the last one of an answer, from which a conversation goes on.
        """
        assert sequence.slot is not None, "a sequence ran without a slot"
        node = sequence.nodes[-1]
        if not states.keep(node, sequence.slot, pushes=left <= self.page_tokens) or left > 0:
            return
        if sequence.answered is not None:
            states.demote(sequence.answered)
        sequence.answered = node

    def release(self, sequence: Sequence) -> None:
        """Takes all pages and the slot back. Mutates: sequence."""
        for page in reversed(sequence.pages):  # the end of a text is forgotten before its start
            self._holders[page] -= 1
            if self._holders[page] > 0:
                continue
            if page in self._key_of:
                self._idle[page] = None
            else:
                self._free.append(page)
        if self.states is not None and sequence.slot is not None:
            self.states.give(sequence.slot)
        sequence.pages = []
        sequence.nodes = []
        sequence.length = 0
        sequence.slot = sequence.answered = None

    def check(self) -> None:
        """Asserts that every page is free, idle or held, and only once."""
        held = {page for page in range(self.count) if self._holders[page] > 0}
        free, idle = set(self._free), set(self._idle)
        assert len(free) == len(self._free), "a page is free twice"
        assert len(held | free | idle) == self.count, "a page is lost"
        assert len(held) + len(free) + len(idle) == self.count, "a page is in two places"
        assert idle <= self._key_of.keys(), "an idle page is not remembered"

    def _forget(self) -> int:
        page, _ = self._idle.popitem(last=False)
        _, node = self._page_of.pop(self._key_of.pop(page))
        if self.states is not None:
            self.states.forget(node)
        return page
