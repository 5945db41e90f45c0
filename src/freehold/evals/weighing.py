"""Log probabilities of continuations: prompts packed together, each read once for all of its own.

Room: evals. Token ids in, nats out; must not know text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from freehold.engine.pages import Sequence as Text
from freehold.engine.runner import Mark, Part, Runner
from freehold.errors import FreeholdError
from freehold.evals.target import Scored
from freehold.local import Model

__all__ = ["Weigher"]

_TOGETHER = 16  # prompts in memory at once
_STEP_TOKENS = 256
_LOGIT_ROWS = 32  # rows of logits that a step returns, at most

Split = tuple[tuple[int, ...], list[int]]
Logits = NDArray[np.float32]


@dataclass(eq=False)
class _Prompt:
    """A prompt in memory, and the continuations still to be weighed after it."""

    tokens: tuple[int, ...]
    wanted: list[tuple[int, int, list[int]]] = field(default_factory=list)  # group, place, tokens
    text: Text = field(default_factory=Text)
    last: NDArray[np.float64] | None = None  # log probabilities of what follows the prompt
    mark: Mark | None = None


class Weigher:
    """Weighs continuations on one model, with an adapter by its index, -1 for none."""

    def __init__(self, model: Model, adapter: int) -> None:
        self._model = model
        self._adapter = adapter

    def weigh(
        self, groups: Iterable[tuple[int, list[Split] | FreeholdError]]
    ) -> Iterator[tuple[int, list[Scored]]]:
        """Each group's continuations, group after group; what was refused stays refused."""
        waiting = iter(groups)
        while batch := list(itertools.islice(waiting, _TOGETHER)):
            asked = [(number, given) for number, given in batch if isinstance(given, list)]
            found = self._batch(asked)
            for number, given in batch:
                if isinstance(given, list):
                    yield number, found[number]
                else:
                    yield number, [Scored(refused=given)]

    def _batch(self, groups: Sequence[tuple[int, list[Split]]]) -> dict[int, list[Scored]]:
        found = {number: [Scored()] * len(splits) for number, splits in groups}
        prompts: dict[tuple[int, ...], _Prompt] = {}
        for number, splits in groups:
            for place, (before, after) in enumerate(splits):
                one = prompts.setdefault(before, _Prompt(before))
                one.wanted.append((number, place, after))
        if not prompts:
            return found
        runner = self._runner(prompts.values())
        self._read_prompts(runner, list(prompts.values()))
        while busy := [one for one in prompts.values() if one.wanted]:
            todo = [(one, one.wanted.pop()) for one in busy]
            for (_, (number, place, _)), scored in zip(
                todo,
                self._round(runner, [(one, after) for one, (_, _, after) in todo]),
                strict=True,
            ):
                found[number][place] = scored
        return found

    def _runner(self, prompts: Iterable[_Prompt]) -> Runner:
        """A pool for these prompts, each with its longest continuation."""
        pages = tokens = 0
        for one in prompts:
            longest = max(len(after) for _, _, after in one.wanted)
            tokens += len(one.tokens) + longest + 64
            pages += 1
        return self._model.new_runner(tokens, sequences=2 * pages + 1)

    def _read_prompts(self, runner: Runner, prompts: Sequence[_Prompt]) -> None:
        """Reads all prompts, several in one step; keeps what each predicts. Mutates: prompts."""
        done = dict.fromkeys(range(len(prompts)), 0)
        while left := [i for i in done if done[i] < len(prompts[i].tokens)]:
            parts, ending, room = [], [], _STEP_TOKENS
            for i in left[:_LOGIT_ROWS]:
                piece = list(prompts[i].tokens[done[i] : done[i] + room])
                ends = done[i] + len(piece) == len(prompts[i].tokens)
                parts.append(Part(prompts[i].text, piece, int(ends), self._adapter))
                ending += [i] if ends else []
                done[i] += len(piece)
                room -= len(piece)
                if room <= 0:
                    break
            logits = runner.run(parts)
            for row, i in enumerate(ending):
                prompts[i].last = _log_probabilities(logits[row : row + 1])[0]
                prompts[i].mark = runner.mark(prompts[i].text)

    def _round(self, runner: Runner, todo: Sequence[tuple[_Prompt, list[int]]]) -> list[Scored]:
        """One continuation of each prompt. Mutates: the prompts' texts, which end as they began."""
        sums = [0.0] * len(todo)
        greedy = [True] * len(todo)
        for i, (one, after) in enumerate(todo):
            assert one.last is not None, "a prompt was not read"
            if after:
                sums[i], greedy[i] = _weigh(one.last[None], after[:1])
        at = [0] * len(todo)
        while left := [i for i, (_, after) in enumerate(todo) if at[i] < len(after) - 1]:
            parts, rows, room = [], [], _LOGIT_ROWS
            for i in left:
                one, after = todo[i]
                piece = after[at[i] : min(len(after) - 1, at[i] + room)]
                parts.append(Part(one.text, piece, len(piece), self._adapter))
                rows.append((i, len(piece)))
                room -= len(piece)
                if room <= 0:
                    break
            logits, row = runner.run(parts), 0
            for i, count in rows:
                following = todo[i][1][at[i] + 1 : at[i] + 1 + count]
                told = _log_probabilities(logits[row : row + count])
                nats, likeliest = _weigh(told, following)
                sums[i], greedy[i] = sums[i] + nats, greedy[i] and likeliest
                at[i] += count
                row += count
        for one, _ in todo:
            assert one.mark is not None, "a prompt was not read"
            runner.rewind(one.text, one.mark)
        return [
            Scored(logprob=total, tokens=len(after), greedy=likeliest)
            for total, (_, after), likeliest in zip(sums, todo, greedy, strict=True)
        ]

    def read(self, runner: Runner, text: Text, tokens: Sequence[int]) -> float:
        """The log probability of all tokens but the first. Mutates: text, which is let go."""
        total = 0.0
        try:
            for start in range(0, len(tokens) - 1, _LOGIT_ROWS):
                piece = list(tokens[start : min(start + _LOGIT_ROWS, len(tokens) - 1)])
                logits = runner.run([Part(text, piece, len(piece), self._adapter)])
                following = tokens[start + 1 : start + 1 + len(piece)]
                total += _weigh(_log_probabilities(logits), following)[0]
        finally:
            runner.pages.release(text)
        return total


def _log_probabilities(logits: Logits) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide


def _weigh(told: NDArray[np.float64], following: Sequence[int]) -> tuple[float, bool]:
    """The sum of the following tokens' log probabilities, and whether each is the likeliest."""
    places = np.arange(len(following)), np.asarray(following, np.int64)
    return float(told[places].sum()), bool((told.argmax(axis=1) == places[1]).all())
