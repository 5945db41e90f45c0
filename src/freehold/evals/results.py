"""What a run found: each item, the figures over all, and two runs over the same items.

Room: evals. Plain data and sums; must not know how it came about or how it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from freehold.errors import BadTask, NotComparable
from freehold.evals.items import Data, Metric, Task
from freehold.evals.statistics import (
    Difference,
    Estimate,
    mean_estimate,
    paired_difference,
    ratio_estimate,
    share_estimate,
)
from freehold.evals.target import Identity

__all__ = ["Comparison", "ItemResult", "Result", "compare", "estimate_of"]


@dataclass(frozen=True, kw_only=True)
class ItemResult:
    """One item's outcome. `tokens`: of the prompt, and written or weighed."""

    index: int
    id: str
    values: Mapping[str, float]
    group: str = ""
    refused: str | None = None
    answer: str = ""
    finish_reason: str = ""
    tokens: tuple[int, int] = (0, 0)
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As a line of JSON has it."""
        return {**vars(self), "values": dict(self.values), "details": dict(self.details)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> ItemResult:
        """From a line. Raises: KeyError, TypeError, ValueError."""
        return cls(
            index=int(facts["index"]),
            id=str(facts["id"]),
            values={str(key): float(value) for key, value in dict(facts["values"]).items()},
            group=str(facts.get("group", "")),
            refused=facts.get("refused"),
            answer=str(facts.get("answer", "")),
            finish_reason=str(facts.get("finish_reason", "")),
            tokens=(int(facts["tokens"][0]), int(facts["tokens"][1])),
            details=dict(facts.get("details", {})),
        )


@dataclass(frozen=True, kw_only=True)
class Result:
    """One model on one task. `partial`: some items are still to do."""

    task: str
    task_digest: str
    data: Data
    main: str
    target: Identity
    estimates: Mapping[str, Estimate]
    metrics: tuple[Metric, ...]
    items: tuple[ItemResult, ...]
    total: int

    @classmethod
    def of(cls, task: Task, target: Identity, items: Sequence[ItemResult]) -> Result:
        """The figures over the items that are done."""
        return cls(
            task=task.name,
            task_digest=task.digest,
            data=task.data,
            main=task.main,
            target=target,
            estimates={m.name: estimate_of(m, items) for m in task.metrics},
            metrics=task.metrics,
            items=tuple(items),
            total=len(task.items),
        )

    @property
    def partial(self) -> bool:
        """Whether some items are still to do."""
        return len(self.items) < self.total

    @property
    def refused(self) -> Mapping[str, int]:
        """How many items the model could not be asked, by the error's code."""
        counts: dict[str, int] = {}
        for item in self.items:
            if item.refused is not None:
                counts[item.refused] = counts.get(item.refused, 0) + 1
        return counts

    @property
    def estimate(self) -> Estimate:
        """The main metric's."""
        return self.estimates[self.main]

    def metric(self, name: str) -> Metric:
        """A metric by its name."""
        return next(metric for metric in self.metrics if metric.name == name)

    def groups(self) -> dict[str, Estimate]:
        """The main metric by group, where the items have groups."""
        names = dict.fromkeys(item.group for item in self.items)
        if len(names) < 2:
            return {}
        metric = self.metric(self.main)
        return {
            name: estimate_of(metric, [item for item in self.items if item.group == name])
            for name in names
        }

    def as_dict(self) -> dict[str, Any]:
        """The figures, without the items."""
        return {
            "task": self.task,
            "task_digest": self.task_digest,
            "data": dict(vars(self.data)),
            "model": self.target.name,
            "model_digest": self.target.digest,
            "via": self.target.via,
            "main": self.main,
            "metrics": {
                metric.name: {
                    "kind": metric.kind,
                    "better": metric.better,
                    **self.estimates[metric.name].as_dict(),
                }
                for metric in self.metrics
            },
            "items": len(self.items),
            "items_in_all": self.total,
            "refused": dict(self.refused),
            "groups": {name: found.as_dict() for name, found in self.groups().items()},
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models by the main metric, over the items that both were asked."""

    first: str
    second: str
    metric: Metric
    difference: Difference

    @property
    def verdict(self) -> str:
        """What may be said: "better", "worse", or "no difference shown" of the second."""
        found = self.difference
        if found.p >= 0.05 or not found.n:
            return "no difference shown"
        improved = found.value > 0 if self.metric.better == "high" else found.value < 0
        return "better" if improved else "worse"

    def as_dict(self) -> dict[str, Any]:
        """By name, as JSON has it."""
        return {
            "first": self.first,
            "second": self.second,
            "metric": self.metric.name,
            "verdict": self.verdict,
            **self.difference.as_dict(),
        }


def compare(first: Result, second: Result) -> Comparison:
    """The second beside the first, item by item. Raises: NotComparable.

    Of a perplexity each item's own nats per count are compared.
    """
    if first.task_digest != second.task_digest:
        raise NotComparable(
            "the two results are of different items, or were judged differently",
            expected=first.task_digest,
            found=second.task_digest,
        )
    metric = first.metric(first.main)
    others = {item.index: item for item in second.items}
    both = [(item, others[item.index]) for item in first.items if item.index in others]
    before = [_value(metric, mine) for mine, _ in both]
    after = [_value(metric, theirs) for _, theirs in both]
    kept = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    return Comparison(
        first=first.target.name,
        second=second.target.name,
        metric=metric,
        difference=paired_difference([a for a, _ in kept], [b for _, b in kept]),
    )


def _value(metric: Metric, item: ItemResult) -> float | None:
    value = item.values.get(metric.name)
    if value is None or metric.kind != "perplexity":
        return value
    return value / max(item.values[metric.over], 1.0)


def estimate_of(metric: Metric, items: Iterable[ItemResult]) -> Estimate:
    """A metric over items; those that lack it, as a text that was refused, are left out."""
    having = [item.values for item in items if metric.name in item.values]
    values = [each[metric.name] for each in having]
    if metric.kind == "perplexity":
        return ratio_estimate(values, [each[metric.over] for each in having])
    if metric.kind == "mean":
        return mean_estimate(values)
    if any(value not in (0.0, 1.0) for value in values):
        raise BadTask("a share is of right and wrong only", value=metric.name, expected="0 or 1")
    return share_estimate(sum(values), len(values))
