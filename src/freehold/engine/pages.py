"""The pages of the KV pool: who holds which, and which full ones can be met again.

Room: engine. Plain data; knows neither model nor array.

A full page is remembered by its tokens and by the page before it, so that a later sequence which
begins with the same tokens shares it. Where two texts part within a page, what the later one can
use of it is copied; for that, a text's last page is remembered too, though it is not full. A page
nobody holds stays remembered until its room is needed; the one unused longest goes first. Whoever
has another `scope` never meets a page, because what is found tells what others asked.

Where sequences also have recurrent states, a prefix is shared up to its last page with a snapshot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from freehold.engine.states import StateList
from freehold.errors import OutOfPages

__all__ = ["PageList", "Sequence"]

_Key = tuple[Hashable, tuple[int, ...]]

_LEAST_BORROWED = 4  # tokens: fewer are computed as soon as copied
_MOST_COMPARED = 64  # pages after the same one, the newest


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

    With `states`, whoever has pages has a slot too. `copy(source, target)` copies a page's memory;
    without it, and where there are states, only whole pages are shared.
    """

    def __init__(
        self,
        count: int,
        page_tokens: int,
        states: StateList | None = None,
        copy: Callable[[int, int], None] | None = None,
    ) -> None:
        self.count = count
        self._copy = copy if states is None else None
        self.page_tokens = page_tokens
        self.states = states
        self._free = list(range(count - 1, -1, -1))
        self._holders = [0] * count
        self._page_of: dict[_Key, tuple[int, int]] = {}  # what it holds -> page, node
        self._key_of: dict[int, _Key] = {}
        self._after: dict[Hashable, dict[int, None]] = {}  # node or scope -> remembered pages
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
            self._take(sequence)

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
                known = self._keep(sequence.pages[index], key)
            sequence.nodes.append(known[1])
        if self.states is not None and sequence.length and sequence.length % size == 0:
            self._keep_state(self.states, sequence, len(tokens) - sequence.length)

    def remember_end(self, sequence: Sequence, tokens: list[int]) -> None:
        """Remembers what the last page holds, before the sequence is released; see `borrow`."""
        whole = len(sequence.nodes)
        end = tuple(tokens[whole * self.page_tokens : sequence.length])
        if self._copy is None or not _LEAST_BORROWED <= len(end) < self.page_tokens:
            return
        key = (sequence.nodes[-1] if sequence.nodes else sequence.scope, end)
        if key not in self._page_of:
            self._keep(sequence.pages[whole], key)

    def borrow(self, sequence: Sequence, tokens: list[int]) -> None:
        """Goes on with a copy of what a remembered page has in common with the next tokens.

        For a sequence fresh from `match`. One token is left to compute. Mutates: sequence.
        """
        whole = len(sequence.nodes)
        wanted = tuple(tokens[whole * self.page_tokens : len(tokens) - 1][: self.page_tokens])
        before = sequence.nodes[-1] if sequence.nodes else sequence.scope
        after = [*self._after.get(before, ())][-_MOST_COMPARED:]
        if self._copy is None or not after or self.num_pages_free == 0:
            return
        common, source = max((_common(self._key_of[page][1], wanted), page) for page in after)
        if common < _LEAST_BORROWED:
            return
        target = self._take(sequence)  # maybe the very page, forgotten: then it holds them already
        self._copy(source, target)
        sequence.length += common

    def _take(self, sequence: Sequence) -> int:
        page = self._free.pop() if self._free else self._forget()
        self._holders[page] = 1
        sequence.pages.append(page)
        return page

    def _keep(self, page: int, key: _Key) -> tuple[int, int]:
        self._last_node += 1
        kept = self._page_of[key] = (page, self._last_node)
        self._key_of[page] = key
        self._after.setdefault(key[0], {})[page] = None
        return kept

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
        key = self._key_of.pop(page)
        _, node = self._page_of.pop(key)
        siblings = self._after[key[0]]
        del siblings[page]
        if not siblings:
            del self._after[key[0]]
        if self.states is not None:
            self.states.forget(node)
        return page


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many tokens both begin with."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
