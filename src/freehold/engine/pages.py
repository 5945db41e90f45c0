"""The pages of the KV pool: who holds which, and which full ones can be met again.

Room: engine. Plain data; knows neither model nor array.

A full page is remembered by its tokens and by the page before it, so that a later sequence which
begins with the same tokens shares it. A page nobody holds stays remembered until its room is
needed; the one unused longest goes first. Whoever has another `scope` never meets a page, because
what is found tells what others asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from freehold.errors import OutOfPages

__all__ = ["PageList", "Sequence"]

_Key = tuple[Hashable, tuple[int, ...]]


@dataclass
class Sequence:
    """One text in the cache: its pages in token order and how many tokens they hold.

    `nodes` names the remembered pages among them, from the first on; `scope` is who may share.
    """

    pages: list[int] = field(default_factory=list)
    length: int = 0
    nodes: list[int] = field(default_factory=list)
    scope: Hashable = ""


class PageList:
    """Hands out the page ids 0 .. count - 1; a page may have several holders once it is full."""

    def __init__(self, count: int, page_tokens: int) -> None:
        self.count = count
        self.page_tokens = page_tokens
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

    def extend(self, sequence: Sequence, length: int) -> None:
        """Gives the sequence pages for `length` tokens.

        Mutates: sequence.pages. Raises: OutOfPages, leaving everything as it was.
        """
        wanted = -(-length // self.page_tokens) - len(sequence.pages)
        if wanted <= 0:
            return
        if wanted > self.num_pages_free:
            raise OutOfPages(
                "the KV cache has no room for these tokens",
                value=length,
                expected=f"at most {self.num_pages_free} more pages of {self.page_tokens} tokens",
                found=f"{wanted} wanted",
            )
        for _ in range(wanted):
            page = self._free.pop() if self._free else self._forget()
            self._holders[page] = 1
            sequence.pages.append(page)

    def match(self, tokens: list[int], scope: Hashable) -> Sequence:
        """A new sequence over the remembered pages that `tokens` begin with.

        At least one token is left to compute, so that there are logits to go on from.
        """
        found = Sequence(scope=scope)
        before: Hashable = scope
        size = self.page_tokens
        for start in range(0, (len(tokens) - 1) // size * size, size):
            known = self._page_of.get((before, tuple(tokens[start : start + size])))
            if known is None:
                break
            page, node = known
            if self._holders[page] == 0:
                del self._idle[page]
            self._holders[page] += 1
            found.pages.append(page)
            found.nodes.append(node)
            before = node
        found.length = len(found.pages) * size
        return found

    def remember(self, sequence: Sequence, tokens: list[int]) -> None:
        """Remembers the sequence's full pages; `tokens` are its first ones, `length` or more.

        Mutates: sequence.nodes.
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

    def release(self, sequence: Sequence) -> None:
        """Takes all pages back. Mutates: sequence."""
        for page in reversed(sequence.pages):  # the end of a text is forgotten before its start
            self._holders[page] -= 1
            if self._holders[page] > 0:
                continue
            if page in self._key_of:
                self._idle[page] = None
            else:
                self._free.append(page)
        sequence.pages = []
        sequence.nodes = []
        sequence.length = 0

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
        del self._page_of[self._key_of.pop(page)]
        return page
