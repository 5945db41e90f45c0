"""Runs in the record: written so that whoever reads it can compare two models again.

Room: evals. Knows what an event of a run says; must not know how a run is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.errors import ChainBroken, NotComparable
from freehold.evals.items import Metric
from freehold.evals.results import Comparison, Result
from freehold.evals.statistics import Estimate, paired_difference
from freehold.library.record import record_evaluated

if TYPE_CHECKING:
    from freehold.store import Event, Events

__all__ = ["Evaluation", "compare_recorded", "evaluations_of", "record_result"]

_MOST_VALUES = 200_000


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A run as the record has it. `values` are the main metric's, in the items' order.

    `task_digest` covers the items, the asking and the judging: two evaluations with the same one
    are of the same items.
    """

    seq: int
    at: str
    model: str
    name: str
    task: str
    task_digest: str
    dataset: str
    metric: Metric
    estimate: Estimate
    values: tuple[float | None, ...]
    refused: Mapping[str, int]


def record_result(events: Events, result: Result, *, by: Mapping[str, Any] | None = None) -> Event:
    """Keeps a finished run in the record, under the model's digest with the data set as parent.

    `by` is what else is to be said of how it was run. Raises: NotComparable for a run that is not
    finished or of a model without a digest; StoreUnusable.
    """
    if result.partial or result.target.digest is None:
        raise NotComparable(
            "only a whole run of a known model goes into the record",
            value=result.task,
            expected=f"{result.total} items, and the digest of the weights",
            found=f"{len(result.items)} items",
        )
    metric = result.metric(result.main)
    body = result.as_dict() | {
        "metric": vars(metric),
        "values": [_rounded(metric, item.values) for item in result.items][:_MOST_VALUES],
        "run": dict(by or {}),
    }
    body.pop("groups")
    return record_evaluated(
        events, result.target.digest, name=result.target.name, dataset=result.data.digest, run=body
    )


def _rounded(metric: Metric, values: Mapping[str, float]) -> float | None:
    value = values.get(metric.name)
    if value is not None and metric.kind == "perplexity":
        value /= max(values[metric.over], 1.0)
    return None if value is None else round(value, 5)


def evaluations_of(events: Events, digest: str) -> tuple[Evaluation, ...]:
    """Every evaluation of the weights with this digest, the oldest first. Raises: ChainBroken."""
    found = (event for event in events.about(digest) if event.kind == "evaluated")
    return tuple(_evaluation(event) for event in found)


def compare_recorded(first: Evaluation, second: Evaluation) -> Comparison:
    """The second beside the first, item by item, from the record alone. Raises: NotComparable."""
    if first.task_digest != second.task_digest or len(first.values) != len(second.values):
        raise NotComparable(
            "the two evaluations are not of the same items",
            expected=first.task_digest,
            found=second.task_digest,
            hint="evaluate both on the same data with the same options",
        )
    both = zip(first.values, second.values, strict=True)
    kept = [(a, b) for a, b in both if a is not None and b is not None]
    return Comparison(
        first=first.name,
        second=second.name,
        metric=first.metric,
        difference=paired_difference([a for a, _ in kept], [b for _, b in kept]),
    )


def _evaluation(event: Event) -> Evaluation:
    body = event.body
    try:
        run = body["run"]
        figures = run["metrics"][run["main"]]
        return Evaluation(
            seq=event.seq,
            at=event.at,
            model=event.subject,
            name=str(body["name"]),
            task=str(run["task"]),
            task_digest=str(run["task_digest"]),
            dataset=str(run["data"]["digest"]),
            metric=Metric(**{key: run["metric"][key] for key in ("name", "kind", "about", "over")}),
            estimate=Estimate(
                **{key: figures[key] for key in ("value", "low", "high", "n", "method")}
            ),
            values=tuple(None if value is None else float(value) for value in run["values"]),
            refused=dict(run["refused"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ChainBroken(
            f"event {event.seq} was altered: the evaluation cannot be read",
            value=event.seq,
            found=type(error).__name__,
        ) from error
