"""Runs a task on a target, item by item, and goes on where an earlier run stopped.

Room: evals. Joins tasks, targets and scorers; must not know engines, HTTP or terminals.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from freehold.evals.items import Item, Task
from freehold.evals.kept import KeptItems
from freehold.evals.results import ItemResult, Result
from freehold.evals.scoring import Score
from freehold.evals.target import Answer, Scored, Target
from freehold.library.progress import Progress, silent

__all__ = ["refusal_values", "run_task"]

_JUDGED_TOGETHER = 32


def run_task(
    task: Task,
    target: Target,
    *,
    keep: Path | KeptItems | None = None,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """The result over every item; with `keep`, each item is kept as soon as it is judged.

    A run that `keep` has a part of is continued. `should_stop` ends it early: the result then says
    that it is partial.
    Raises: BadTask, TargetFailed, and what the target raises; what is done by then is kept.
    """
    if not isinstance(keep, KeptItems):
        keep = KeptItems.open(keep, task, target.identity)
    with keep as kept:
        found = {each.index: each for each in kept.items}
        missing = [i for i in range(len(task.items)) if i not in found]
        progress("items", len(found), len(task.items))
        new = _measured(task, target, missing)
        for result in new:
            kept.add(result)
            found[result.index] = result
            progress("items", len(found), len(task.items))
            if should_stop():
                break
        results = tuple(found[i] for i in sorted(found))
    return Result.of(task, target.identity, results)


def _measured(task: Task, target: Target, indices: Sequence[int]) -> Iterator[ItemResult]:
    items = [task.items[i] for i in indices]
    if task.asks == "answer":
        yield from _answered(task, target, indices, items)
    elif task.asks == "text":
        texts = (str(item.prompt) for item in items)
        for number, scored in target.read(texts):
            yield _read(indices[number], items[number], scored)
    else:
        weigh = _chosen if task.asks == "choice" else _continued
        for number, every in target.score(item.choices for item in items):
            yield weigh(task, indices[number], items[number], every)


def _answered(
    task: Task, target: Target, indices: Sequence[int], items: Sequence[Item]
) -> Iterator[ItemResult]:
    answers = target.generate((item.prompt for item in items), task.generation)
    for group in _groups(answers):
        good = [(number, answer) for number, answer in group if answer.refused is None]
        given = [(items[number], answer) for number, answer in good]
        every = [scorer.score(given) for scorer in task.scorers] if given else []
        scores = {number: [each[at] for each in every] for at, (number, _) in enumerate(good)}
        for number, answer in group:
            yield _judged(task, indices[number], items[number], answer, scores.get(number, []))


def _groups(answers: Iterable[tuple[int, Answer]]) -> Iterator[list[tuple[int, Answer]]]:
    waiting = iter(answers)
    while group := list(itertools.islice(waiting, _JUDGED_TOGETHER)):
        yield group


def refusal_values(task: Task) -> dict[str, float]:
    """What an item gets that the model could not be asked: nothing right; no perplexity."""
    return {metric.name: 0.0 for metric in task.metrics if metric.kind != "perplexity"}


def _judged(
    task: Task, index: int, item: Item, answer: Answer, scores: Sequence[Score]
) -> ItemResult:
    values: dict[str, float] = {}
    for score in scores:
        values |= score.values
    refused = answer.refused
    return ItemResult(
        index=index,
        id=item.id,
        group=item.group,
        values=values if refused is None else refusal_values(task),
        refused=None if refused is None else refused.code,
        answer=answer.text,
        finish_reason=answer.finish_reason,
        tokens=(answer.prompt_tokens, answer.generated_tokens),
        details={
            "says": [score.says for score in scores if score.says],
            "samples": [dict(score.sample) for score in scores if score.sample],
        },
    )


def _refusal(every: Sequence[Scored]) -> str | None:
    return next((each.refused.code for each in every if each.refused is not None), None)


def _chosen(task: Task, index: int, item: Item, every: Sequence[Scored]) -> ItemResult:
    """The choice with the highest log probability, as it is and per character.

    Source: the field's `acc` and `acc_norm`; the space that joins a choice to its prompt is not
    counted among its characters.
    """
    refused = _refusal(every)
    lengths = [max(len(pair.continuation.removeprefix(" ")), 1) for pair in item.choices]
    sums = [each.logprob for each in every]
    best = _best(sums)
    by_length = _best([total / length for total, length in zip(sums, lengths, strict=True)])
    values = {"acc": float(best == item.gold), "acc_norm": float(by_length == item.gold)}
    return ItemResult(
        index=index,
        id=item.id,
        group=item.group,
        values=values if refused is None else refusal_values(task),
        refused=refused,
        answer="" if refused else item.choices[best].continuation,
        tokens=(0, sum(each.tokens for each in every)),
        details={"logprobs": [round(total, 6) for total in sums], "gold": item.gold},
    )


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _continued(task: Task, index: int, item: Item, every: Sequence[Scored]) -> ItemResult:
    """Whether the model would write just this, and how much it surprises it."""
    refused, (scored,) = _refusal(every), every
    values = {"acc": float(scored.greedy), "perplexity": -scored.logprob, "items": 1.0}
    return ItemResult(
        index=index,
        id=item.id,
        group=item.group,
        values=values if refused is None else refusal_values(task),
        refused=refused,
        tokens=(0, scored.tokens),
        details={"logprob": round(scored.logprob, 6)},
    )


def _read(index: int, item: Item, scored: Scored) -> ItemResult:
    text, nats = str(item.prompt), -scored.logprob
    values = {
        "perplexity": nats,
        "byte_perplexity": nats,
        "word_perplexity": nats,
        "tokens": float(scored.tokens),
        "bytes": float(len(text.encode())),
        "words": float(max(len(text.split()), 1)),
    }
    return ItemResult(
        index=index,
        id=item.id,
        group=item.group,
        values=values if scored.refused is None else {},
        refused=None if scored.refused is None else scored.refused.code,
        tokens=(scored.tokens, 0),
    )
