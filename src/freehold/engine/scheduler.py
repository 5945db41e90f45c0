"""Who runs next, and how many tokens of it: computed tokens catch up with known ones.

Room: engine. Plain data: imports neither model nor array. There is no prefill phase: a sequence
that has one unknown token to go decodes, one that has more takes a chunk of the same step. The
background takes part in a step only while nobody else is here, and gives way at once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from freehold.engine.pages import PageList, Sequence
from freehold.errors import OutOfPages, QueueFull

__all__ = ["Budget", "Entry", "Pacer", "Scheduler"]

_LEAST_CHUNK = 16  # a prompt's, however many answers share its step
_MIXED_S = 0.1  # how long a prompt's chunk may hold up the answers under way
_ALONE_S = 0.5
_CHUNK = 16  # prompts run in multiples of it: a full tile of the kernels


@dataclass(eq=False)
class Entry:
    """A request under way: the tokens known so far and the pages of those computed."""

    id: str
    owner: str
    known: list[int]  # prompt, then answer
    branch: int = 0  # others than the first belong to a request that was let in
    max_chunk: int = 1 << 30
    shares_prefix: bool = True
    scope: Hashable = None  # who may share its pages; None for its owner
    background: bool = False  # takes what others leave
    sequence: Sequence = field(default_factory=Sequence)
    cached_tokens: int = -1  # of the first admission; -1 before it

    @property
    def pending(self) -> int:
        """Known tokens that are not computed yet."""
        return len(self.known) - self.sequence.length


@dataclass
class Budget:
    """Tokens of one step: with answers waiting for their next token, and with prompts alone."""

    mixed_tokens: int = 128
    alone_tokens: int = 512


class Pacer:
    """Sizes the chunks of prompts by how fast this model runs on this machine."""

    def __init__(self, most_tokens: int) -> None:
        self.budget = Budget(alone_tokens=most_tokens)
        self._most_tokens = most_tokens
        self._tokens_per_s = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """Says how long a step took. Mutates: budget."""
        if tokens < 2 * _CHUNK or seconds <= 0:
            return
        rate = tokens / seconds
        self._tokens_per_s = rate if not self._tokens_per_s else (self._tokens_per_s + rate) / 2
        # Smaller pieces than these would read the weights more than compute with them.
        self.budget = Budget(self._within(_MIXED_S, 2 * _CHUNK), self._within(_ALONE_S, 8 * _CHUNK))

    def _within(self, limit_s: float, least: int) -> int:
        tokens = int(self._tokens_per_s * limit_s) // _CHUNK * _CHUNK
        return min(max(tokens, least), self._most_tokens)


class Scheduler:
    """Admits fairly between owners, plans steps, and preempts the youngest when pages run out."""

    def __init__(self, pages: PageList, *, max_running: int, max_waiting: int) -> None:
        self.pages = pages
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.running: list[Entry] = []  # in the order of their admission
        self.num_preempted = 0
        self.queries_tokens = 0  # of prompts that were looked up in the cache
        self.hits_tokens = 0
        self._again: deque[Entry] = deque()  # preempted: before everybody who waits
        # (is in the background, owner) -> in order
        self._waiting: OrderedDict[tuple[bool, str], deque[Entry]] = OrderedDict()

    @property
    def num_waiting(self) -> int:
        """Entries that hold no pages."""
        return len(self._again) + sum(map(len, self._waiting.values()))

    def waiting(self) -> list[Entry]:
        """The entries that hold no pages."""
        return [*self._again, *(entry for queue in self._waiting.values() for entry in queue)]

    def add(self, entry: Entry) -> None:
        """Puts an entry at the end of its owner's queue. Raises: QueueFull."""
        alike = entry.background
        room = self.max_waiting + max(0, self.max_running - _count(self.running, alike))
        if entry.branch == 0 and _count(self.waiting(), alike) >= room:
            raise QueueFull(
                "too many requests are waiting",
                expected=f"at most {self.max_waiting}",
                found=str(_count(self.waiting(), alike)),
                retry_after_s=1.0,
                hint="ask again later, or raise the limit of the queue",
            )
        self._waiting.setdefault(_queue_of(entry), deque()).append(entry)

    def remove(self, entry: Entry) -> None:
        """Forgets an entry, wherever it is, and takes its pages."""
        self._release(entry)
        if entry in self.running:
            self.running.remove(entry)
        elif entry in self._again:
            self._again.remove(entry)
        else:
            queue = self._waiting.get(_queue_of(entry), deque())
            if entry in queue:
                queue.remove(entry)
            if not queue:
                self._waiting.pop(_queue_of(entry), None)

    def plan(self, budget: Budget) -> list[tuple[Entry, int]]:
        """The step: entries and how many of their tokens, with pages for all of them.

        Mutates: the queues and the entries' pages.
        """
        steady = self._steady()
        if steady is not None:
            return steady
        planned: dict[Entry, int] = {}
        idle = not any(not entry.background for entry in [*self.running, *self.waiting()])
        turn = [entry for entry in self.running if entry.background is idle]
        for entry in [entry for entry in turn if entry.pending == 1]:
            if entry in self.running and self._room_for_one(entry, planned):
                planned[entry] = 1
        # Whoever comes while only the background works must not wait for a long step.
        left = budget.mixed_tokens if idle else budget.alone_tokens
        if planned:
            left = max(budget.mixed_tokens - len(planned), _LEAST_CHUNK)
        for entry in [entry for entry in turn if entry.pending > 1 and entry in self.running]:
            left -= self._take_chunk(entry, left, planned)
        while left > 0 and (admitted := self._admit()):
            left -= self._take_chunk(admitted, left, planned)
        if not planned and len(self.running) > 1:  # every prompt waits for another's pages
            self._preempt(self._victims()[0])
            return self.plan(budget)
        return list(planned.items())

    def _steady(self) -> list[tuple[Entry, int]] | None:
        """The plan where nobody waits and all who run want one token and have room for it.

        Most steps are such, and what comes between two of them is time that no kernel uses.
        """
        if self._again or self._waiting or not self.running:
            return None
        background, size = self.running[0].background, self.pages.page_tokens
        for entry in self.running:
            known, sequence = len(entry.known), entry.sequence
            if known - sequence.length != 1 or known > size * len(sequence.pages):
                return None
            if entry.background is not background:
                return None
        return [(entry, 1) for entry in self.running]

    def _room_for_one(self, entry: Entry, planned: dict[Entry, int]) -> bool:
        """Makes room for an answer's next token, at the cost of the youngest if it must."""
        while True:
            try:
                self.pages.extend(entry.sequence, len(entry.known))
            except OutOfPages:
                victim = next(e for e in self._victims() if e not in planned)
                self._preempt(victim)
                if victim is entry:
                    return False
            else:
                return True

    def _take_chunk(self, entry: Entry, left: int, planned: dict[Entry, int]) -> int:
        """Plans as many of a prompt's tokens as budget and pages allow; returns how many."""
        size = self.pages.page_tokens
        held = len(entry.sequence.pages) + self.pages.num_pages_free
        count = min(entry.pending, left, entry.max_chunk, held * size - entry.sequence.length)
        if count <= 0:
            return 0
        if self.pages.states is not None and entry.shares_prefix:
            count = self._to_page_end(entry, count)
        self.pages.extend(entry.sequence, entry.sequence.length + count)
        planned[entry] = count
        return count

    def _to_page_end(self, entry: Entry, count: int) -> int:
        """The chunk cut where a page ends, as a state can only be shared there.

        A prompt's last chunk ends at its end; the one before it at its last whole page.
        """
        size, start = self.pages.page_tokens, entry.sequence.length
        whole = min(start + count, len(entry.known) - 1) // size * size
        return whole - start if whole > start else count

    def _admit(self) -> Entry | None:
        """The next entry that fits, with the pages it shares; None when nobody does."""
        entry = self._next()
        if entry is None:
            return None
        while not self._fits(entry):
            # Whoever came for an answer does not wait for the background.
            givers = [] if entry.background else [e for e in self._victims() if e.background]
            if not givers:
                return None
            self._preempt(givers[0])
        self.pages.seat(entry.sequence)
        if entry.shares_prefix:
            self.pages.borrow(entry.sequence, entry.known)
        self._dequeue(entry)
        if entry.cached_tokens < 0:
            entry.cached_tokens = entry.sequence.length
            self.hits_tokens += entry.cached_tokens
            self.queries_tokens += len(entry.known) if entry.shares_prefix else 0
        self.running.append(entry)
        return entry

    def _release(self, entry: Entry) -> None:
        if entry.shares_prefix:
            self.pages.remember_end(entry.sequence, entry.known)
        self.pages.release(entry.sequence)

    def _fits(self, entry: Entry) -> bool:
        """Whether there is room for an entry, which then holds the pages it shares."""
        if len(self.running) >= self.max_running or not self.pages.has_slot:
            return False
        if entry.shares_prefix:
            scope = entry.owner if entry.scope is None else entry.scope
            entry.sequence = self.pages.match(entry.known, scope)
        needed = len(entry.known) // self.pages.page_tokens + 1 - len(entry.sequence.pages)
        # Those who run will need more pages soon; a newcomer must not push them out at once.
        if self.running and needed + len(self.running) > self.pages.num_pages_free:
            self.pages.release(entry.sequence)
            return False
        return True

    def _next(self) -> Entry | None:
        """Who is admitted next; from the background only while nobody else is here."""
        found = self._first_waiting(background=False)
        if found is not None or any(not entry.background for entry in self.running):
            return found
        return self._first_waiting(background=True)

    def _first_waiting(self, *, background: bool) -> Entry | None:
        again = (entry for entry in self._again if entry.background is background)
        queues = (queue for (kind, _), queue in self._waiting.items() if kind is background)
        return next(again, None) or next((queue[0] for queue in queues), None)

    def _dequeue(self, entry: Entry) -> None:
        if entry in self._again:
            self._again.remove(entry)
            return
        queue = self._waiting.pop(_queue_of(entry))
        queue.popleft()
        if queue:
            self._waiting[_queue_of(entry)] = queue  # behind the other owners

    def _victims(self) -> list[Entry]:
        """Who gives up pages first: the background, then the youngest."""
        youngest = self.running[::-1]
        return [e for e in youngest if e.background] + [e for e in youngest if not e.background]

    def _preempt(self, entry: Entry) -> None:
        """Takes an entry's pages; it is computed again, from what is still remembered."""
        self.running.remove(entry)
        self._release(entry)
        self._again.appendleft(entry)
        self.num_preempted += 1


def _queue_of(entry: Entry) -> tuple[bool, str]:
    return entry.background, entry.owner


def _count(entries: Iterable[Entry], background: bool) -> int:
    return sum(entry.background is background for entry in entries)
