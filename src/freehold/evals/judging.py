"""Judging by a chosen model: against a rubric, or two answers side by side in both orders.

Room: evals. Asks a target what it thinks; must not know which model that is.

The judge writes nothing: the log probabilities of its possible verdicts are weighed, so every
verdict is one of them and none has to be guessed from words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.errors import BadTask, NotComparable
from freehold.evals.bayes import text_of
from freehold.evals.items import Item, Metric, Pair, Task
from freehold.evals.results import ItemResult, Result
from freehold.evals.scoring import Score
from freehold.evals.statistics import Estimate, mcnemar, mean_estimate, share_estimate
from freehold.library.progress import Progress, silent

if TYPE_CHECKING:
    from freehold.evals.target import Answer, Scored, Target

__all__ = ["Preference", "judge_pairs", "rubric_scorer"]

_MARKS = "12345"
_MOST_CHARS = 1 << 14  # of a question or an answer that a judge is shown

_RUBRIC = """Judge an answer by this rubric:
{rubric}

Question:
{question}

{reference}Answer to judge:
{answer}

How well does the answer meet the rubric? Reply with one digit, from 1 (not at all) to 5 (fully)."""

_PAIR = """Two assistants answered the same question.

Question:
{question}

{reference}Answer A:
{first}

Answer B:
{second}

Which answer is better{rubric}? The order says nothing. Reply with one letter: A, B, or C if \
neither is better."""


@dataclass(frozen=True)
class _Rubric:
    """The mark that the judge expects to give, from 0 to 1."""

    judge: Target
    rubric: str

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="rubric", kind="mean", about=f"judged by {self.judge.identity.name}"),)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"type": "rubric", "rubric": self.rubric, "judge": self.judge.identity.digest}

    def score(self, given: Sequence[tuple[Item, Answer]]) -> list[Score]:
        groups = [self._asked(item, answer.text) for item, answer in given]
        scores = [Score(values={"rubric": 0.0})] * len(groups)
        for number, every in self.judge.score(groups):
            scores[number] = _mark(every)
        return scores

    def _asked(self, item: Item, answer: str) -> tuple[Pair, ...]:
        text = _RUBRIC.format(
            rubric=self.rubric,
            question=_shown(text_of(item.prompt)),
            reference=_reference(item),
            answer=_shown(answer),
        )
        return _verdicts(text, _MARKS)


def rubric_scorer(judge: Target, rubric: str) -> _Rubric:
    """Marks from 1 to 5 by a rubric, as the expected mark under the judge's own probabilities.

    Source: the weighing of marks in G-Eval, arXiv 2303.16634, section 2.
    """
    if not rubric.strip():
        raise BadTask("the rubric is empty", expected="what makes an answer good")
    return _Rubric(judge, rubric.strip())


def _mark(every: Sequence[Scored]) -> Score:
    refused = next((each.refused for each in every if each.refused is not None), None)
    if refused is not None:
        raise refused
    shares = _shares([each.logprob for each in every])
    mean = sum(mark * share for mark, share in enumerate(shares)) / (len(shares) - 1)
    return Score(values={"rubric": mean}, says=f"mark {1 + mean * 4:.2f}")


def _shares(logprobs: Sequence[float]) -> list[float]:
    peak = max(logprobs)
    each = [math.exp(value - peak) for value in logprobs]
    return [value / sum(each) for value in each]


def _verdicts(text: str, letters: str) -> tuple[Pair, ...]:
    messages = ({"role": "user", "content": text},)
    return tuple(Pair(messages, letter) for letter in letters)


def _reference(item: Item) -> str:
    return f"A right answer:\n{_shown(item.references[0])}\n\n" if item.references else ""


def _shown(text: str) -> str:
    if len(text) > _MOST_CHARS:
        raise BadTask(
            "a text is too long for a judge",
            value=len(text),
            expected=f"at most {_MOST_CHARS} characters",
        )
    return text


@dataclass(frozen=True, kw_only=True)
class Preference:
    """What a judge preferred, every pair seen in both orders.

    A pair whose verdict turned with the order is a tie, and is counted in `flips`. `first_place` is
    how often the answer shown first was preferred, of all verdicts that preferred any: 0.5 is fair.
    `rate` gives the second model 1 for a win and 0.5 for a tie; `p` is of wins against losses.
    """

    judge: str
    first: str
    second: str
    wins: int
    losses: int
    ties: int
    flips: int
    rate: Estimate
    first_place: Estimate
    p: float

    @property
    def verdict(self) -> str:
        """What may be said of the second: "better", "worse" or "no difference shown"."""
        if self.p >= 0.05:
            return "no difference shown"
        return "better" if self.wins > self.losses else "worse"

    @property
    def biased(self) -> bool:
        """Whether the place alone moved the judge, by more than chance explains."""
        return not self.first_place.low <= 0.5 <= self.first_place.high

    def as_dict(self) -> dict[str, Any]:
        """By name, as JSON has it."""
        return {
            **vars(self),
            "rate": self.rate.as_dict(),
            "first_place": self.first_place.as_dict(),
            "verdict": self.verdict,
            "biased": self.biased,
        }


def judge_pairs(
    task: Task,
    first: Result,
    second: Result,
    judge: Target,
    *,
    rubric: str = "",
    progress: Progress = silent,
) -> Preference:
    """Has a judge compare two models' answers to the same items. Raises: NotComparable, BadTask.

    Items that either model was refused are left out.
    """
    if first.task_digest != second.task_digest or task.asks != "answer":
        raise NotComparable("there are no two answers to the same questions", value=task.name)
    others = {item.index: item for item in second.items if item.refused is None}
    both = [(a, others[a.index]) for a in first.items if a.refused is None and a.index in others]
    groups = [group for a, b in both for group in _both_orders(task.items[a.index], a, b, rubric)]
    found: dict[int, str] = {}
    for number, every in judge.score(groups):
        found[number] = _letter(every)
        progress("judging", len(found), len(groups))
    pairs = [(found[2 * i], found[2 * i + 1]) for i in range(len(both))]
    return _preference(judge.identity.name, first, second, pairs)


def _both_orders(item: Item, a: ItemResult, b: ItemResult, rubric: str) -> list[tuple[Pair, ...]]:
    def asked(first: str, second: str) -> tuple[Pair, ...]:
        text = _PAIR.format(
            question=_shown(text_of(item.prompt)),
            reference=_reference(item),
            first=_shown(first),
            second=_shown(second),
            rubric=f", by this: {rubric}" if rubric else "",
        )
        return _verdicts(text, "ABC")

    return [asked(a.answer, b.answer), asked(b.answer, a.answer)]


def _letter(every: Sequence[Scored]) -> str:
    refused = next((each.refused for each in every if each.refused is not None), None)
    if refused is not None:
        raise refused
    return "ABC"[max(range(3), key=lambda i: every[i].logprob)]


def _preference(
    judge: str, first: Result, second: Result, pairs: Sequence[tuple[str, str]]
) -> Preference:
    wins = sum(pair == ("B", "A") for pair in pairs)
    losses = sum(pair == ("A", "B") for pair in pairs)
    letters = [letter for pair in pairs for letter in pair if letter != "C"]
    rates = [1.0 if p == ("B", "A") else 0.0 if p == ("A", "B") else 0.5 for p in pairs]
    return Preference(
        judge=judge,
        first=first.target.name,
        second=second.target.name,
        wins=wins,
        losses=losses,
        ties=len(pairs) - wins - losses,
        flips=sum(pair in {("A", "A"), ("B", "B")} for pair in pairs),
        rate=mean_estimate(rates),
        first_place=share_estimate(letters.count("A"), len(letters)),
        p=mcnemar(wins, losses),
    )
