"""Which tokens may come next, and how many of them are worth a try.

Room: engine. Plain data: imports neither model nor array. What an answer has said before, it often
says again: what followed its last few tokens before is guessed, computed in one step with the
known token, and kept as far as it is what would have been drawn. Results are what they are without
guesses, bit for bit, because they never depend on how tokens share a step.

Source of the idea: prompt lookup decoding (Saxena 2023); drafts are checked as by Leviathan et al.
2023, arXiv 2211.17192, but with each token's own draw instead of a rejection, so that a seed's
answer stays the same.
"""

from __future__ import annotations

__all__ = ["MOST_GUESSES", "Guesser", "StepCosts"]

MOST_GUESSES = 7  # eight rows of a step: a tile of every kernel
_LEAST = 2  # tokens that have to be the same
_LONGEST = 6  # that are looked at
_PLACES = 16  # where the last two tokens stood before, of which the one most alike is taken
# How often a guess is right whose precedent agrees in 2, 3, ... 6 tokens, before there were any:
# measured with SmolLM2-135M on 40 stories of 64 tokens.
_HOPES = (0.4, 0.6, 0.75, 0.85, 0.9)
_PACE = 1 / 8  # how fast an estimate follows what is seen
_FORGET = 1 / 64
_WORTH = 1.03  # a gain that is not the clock's noise
_GROWTH = 1 / 7  # of a step's cost by a token more, of that of one, until it was seen
_LOOK_AGAIN = 32  # steps without guesses before their cost is measured once more


class Guesser:
    """Guesses an answer's next tokens from what it and its prompt have said.

    `known` is read and never changed; it may only grow. `right` is how likely the last guess was.
    """

    def __init__(self, known: list[int]) -> None:
        self._known = known
        # Two tokens -> the place after them, the last time; and for each place the one before it.
        self._last: dict[tuple[int, int], int] = {}
        self._before = [0] * _LEAST
        self._rights = list(_HOPES)
        self._alike = 0

    @property
    def right(self) -> float:
        """The share of guesses like the last that are right."""
        return self._rights[self._alike]

    def guess(self, most: int) -> list[int]:
        """At most so many tokens that may follow the known ones; none without a precedent."""
        self._note()
        known = self._known
        place = self._last.get((known[-2], known[-1]), 0) if len(known) > _LEAST else 0
        best, longest = 0, 0
        for _ in range(_PLACES):
            if not place or longest == _LONGEST:
                break
            if (alike := self._agree(place)) > longest:
                best, longest = place, alike
            place = self._before[place]
        if not best:
            return []
        self._alike = longest - _LEAST
        self._rights[self._alike] += (_HOPES[self._alike] - self.right) * _FORGET
        next_ones = known[best : best + most]
        return (next_ones * most)[:most]  # where it meets its own end, it goes in a circle

    def learn(self, guessed: int, kept: int) -> None:
        """Says how many of the guesses were right, up to the first wrong one."""
        for right in [1.0] * kept + [0.0] * (kept < guessed):
            self._rights[self._alike] += (right - self.right) * _PACE

    def _agree(self, place: int) -> int:
        """How many tokens before a place are the newest ones."""
        known, count = self._known, _LEAST
        while count < min(_LONGEST, place) and known[place - count - 1] == known[-count - 1]:
            count += 1
        return count

    def _note(self) -> None:
        """Notes where all but the newest tokens went on."""
        known, last, before = self._known, self._last, self._before
        for place in range(len(before), len(known)):
            pair = known[place - 2], known[place - 1]
            before.append(last.get(pair, 0))
            last[pair] = place


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
