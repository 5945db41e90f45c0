"""Which tokens may come next, and how many of them are worth a try.

Room: engine. Plain data: imports neither model nor array. What was said before is often said again:
what followed an answer's last few tokens, in its prompt, in itself or in earlier answers, is
guessed, computed in one step with the known token, and kept as far as it is what would have been
drawn. Results are what they are without guesses, bit for bit, because they never depend on how
tokens share a step.

Source of the idea: prompt lookup decoding (Saxena 2023); drafts are checked as by Leviathan et al.
2023, arXiv 2211.17192, but with each token's own draw instead of a rejection, so that a seed's
answer stays the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["MOST_GUESSES", "Guesser", "Memory", "StepCosts"]

MOST_GUESSES = 7  # eight rows of a step: a tile of every kernel
_LEAST = 2  # tokens that have to be the same
_LONGEST = 6  # that are looked at
_PLACES = 16  # where the last two tokens stood before, of which the one most alike is taken
# How often a guess is right whose precedent agrees in 2, 3, ... 6 tokens, before there were any:
# measured with SmolLM2-135M on 40 stories of 64 tokens, in the text itself and in the others.
_HOPES = (0.4, 0.6, 0.7, 0.8, 0.9), (0.3, 0.45, 0.45, 0.6, 0.7)
_PACE = 1 / 8  # how fast an estimate follows what is seen
_FORGET = 1 / 64
_WORTH = 1.03  # a gain that is not the clock's noise
_GROWTH = 1 / 7  # of a step's cost by a token more, of that of one, until it was seen
_LOOK_AGAIN = 32  # steps without guesses before their cost is measured once more
_REMEMBERED_TOKENS = 1 << 14  # of one asker's answers, some 3 MB with their places
_ASKERS = 16


class _Precedents:
    """Where in a text two tokens have stood before. The text may only grow."""

    def __init__(self, text: list[int]) -> None:
        self.text = text
        # Two tokens -> the place after them, the last time; and for each place the one before it.
        self._last: dict[tuple[int, int], int] = {}
        self._before = [0] * _LEAST

    def find(self, known: list[int]) -> tuple[int, int]:
        """The place after what is most like the end of `known`, and how many tokens agree.

        Of places alike the last; (0, 0) where there is none.
        """
        place = self._last.get((known[-2], known[-1]), 0)
        best = longest = 0
        for _ in range(_PLACES):
            if not place or longest == _LONGEST:
                break
            if (alike := self._agree(place, known)) > longest:
                best, longest = place, alike
            place = self._before[place]
        return best, longest

    def note(self) -> None:
        """Notes where all but the newest tokens went on."""
        text, last, before = self.text, self._last, self._before
        for place in range(len(before), len(text)):
            pair = text[place - 2], text[place - 1]
            before.append(last.get(pair, 0))
            last[pair] = place

    def _agree(self, place: int, known: list[int]) -> int:
        text, count = self.text, _LEAST
        most = min(_LONGEST, place, len(known))
        while count < most and text[place - count - 1] == known[-count - 1]:
            count += 1
        return count


class Memory:
    """What answers have said, each asker's apart: how long one takes must tell nobody else."""

    def __init__(self) -> None:
        self._of: OrderedDict[Hashable, _Precedents] = OrderedDict()

    def of(self, asker: Hashable) -> _Precedents:
        """What this one was told; the longest unasked is forgotten for it."""
        found = self._of.setdefault(asker, _Precedents([]))
        self._of.move_to_end(asker)
        if len(self._of) > _ASKERS:
            self._of.popitem(last=False)
        return found

    def add(self, asker: Hashable, answer: list[int]) -> None:
        """Remembers an answer, and where it is too much, forgets the older half."""
        told = self.of(asker)
        if len(told.text) + len(answer) > _REMEMBERED_TOKENS:
            kept = (told.text + answer)[-_REMEMBERED_TOKENS // 2 :]
            told = self._of[asker] = _Precedents(kept)
        else:
            told.text += answer
        told.note()


class Guesser:
    """Guesses an answer's next tokens from what it, its prompt and earlier answers have said.

    `known` is read and never changed; it may only grow. `right` is how likely the last guess was.
    """

    def __init__(self, known: list[int], told: _Precedents | None = None) -> None:
        self._known = known
        self._sources = _Precedents(known), told or _Precedents([])
        self._rights = [list(hopes) for hopes in _HOPES]
        self._from = self._alike = 0

    @property
    def right(self) -> float:
        """The share of guesses like the last that are right."""
        return self._rights[self._from][self._alike]

    def guess(self, most: int) -> list[int]:
        """At most so many tokens that may follow the known ones; none without a precedent."""
        if len(self._known) < _LEAST:
            return []
        self._sources[0].note()
        places = [source.find(self._known) for source in self._sources]
        longest = max(alike for _, alike in places)
        if not longest:
            return []
        self._from = [alike for _, alike in places].index(longest)
        self._alike = longest - _LEAST
        self._move(_HOPES[self._from][self._alike], _FORGET)
        place, text = places[self._from][0], self._sources[self._from].text
        next_ones = text[place : place + most]
        return (next_ones * most)[:most]  # where it meets its own end, it goes in a circle

    def learn(self, guessed: int, kept: int) -> None:
        """Says how many of the guesses were right, up to the first wrong one."""
        for right in [1.0] * kept + [0.0] * (kept < guessed):
            self._move(right, _PACE)

    def _move(self, towards: float, pace: float) -> None:
        self._rights[self._from][self._alike] += (towards - self.right) * pace


class StepCosts:
    """What steps of one to eight tokens of a sequence take, and so how many guesses pay."""

    def __init__(self) -> None:
        self._seconds = [0.0] * (MOST_GUESSES + 2)  # by tokens; 0 where none was seen
        self._without = 0

    def learn(self, tokens: int, seconds: float) -> None:
        """Says how long a step took."""
        if not 1 <= tokens < len(self._seconds) or seconds <= 0:
            return
        before = self._seconds[tokens]
        # What disturbs a step is no part of its cost.
        seen = min(seconds, 2 * before) if before else seconds
        self._seconds[tokens] = before + (seen - before) * (_PACE if before else 1)

    def best(self, right: float) -> int:
        """How many tokens to guess where each is right with this probability."""
        alone = self._seconds[1]
        if not alone:
            return 0
        best, gain, expected, chance = 0, _WORTH, 1.0, 1.0
        for guesses in range(1, MOST_GUESSES + 1):
            chance *= right
            expected += chance
            cost = self._seconds[guesses + 1] or alone * (1 + guesses * _GROWTH)
            if expected * alone / cost > gain:
                best, gain = guesses, expected * alone / cost
        self._without = 0 if best else self._without + 1
        if self._without >= _LOOK_AGAIN:
            self._without, best = 0, 1
        return best
