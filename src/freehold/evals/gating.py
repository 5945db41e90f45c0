"""What must be on record before a name may stand for another model.

Room: evals. Knows evaluations in the record; must not know how a model is served or asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.errors import NotProven
from freehold.evals.recorded import Evaluation, compare_recorded, evaluations_of

if TYPE_CHECKING:
    from freehold.evals.results import Comparison
    from freehold.store import Events

__all__ = ["Evidence", "evidence_for"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The candidate's evaluations, and how each compares with that of the model it replaces.

    Without a model before it there is nothing to compare with.
    """

    evaluations: tuple[Evaluation, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def verdict(self) -> str:
        """ "first", "worse" (on any task), "better" (on one at least) or "no difference shown"."""
        found = {comparison.verdict for comparison in self.comparisons}
        if not found:
            return "first"
        return next((v for v in ("worse", "better") if v in found), "no difference shown")

    def as_dict(self) -> dict[str, Any]:
        """As the record keeps it."""
        return {
            "verdict": self.verdict,
            "evaluations": [
                {
                    "event": each.seq,
                    "task": each.task,
                    "task_digest": each.task_digest,
                    "dataset": each.dataset,
                    "metric": each.metric.name,
                    "value": each.estimate.value,
                    "low": each.estimate.low,
                    "high": each.estimate.high,
                }
                for each in self.evaluations
            ],
            "comparisons": [
                {"task": each.task} | comparison.as_dict()
                for each, comparison in zip(self.evaluations, self.comparisons, strict=False)
            ],
        }


def evidence_for(
    events: Events, *, candidate: str, current: str | None, trained_on: Collection[str]
) -> Evidence:
    """The latest evaluations of both models on the same items that the candidate never saw.

    Models and data sets by digest; `current` None: the name is new. Raises: NotProven, ChainBroken.
    """
    own = _latest(events, candidate, trained_on)
    if not own:
        seen = evaluations_of(events, candidate)
        raise NotProven(
            "nothing on record says how good this model is"
            + (": it was evaluated on its training data only" if seen else ""),
            value=candidate,
            expected="an evaluation on data that it was not trained on",
            found=f"{len(seen)} evaluations",
            hint="`freehold eval CURRENT MODEL --data FILE --score HOW` measures both",
        )
    if current is None:
        return Evidence(evaluations=tuple(own.values()))
    others = _latest(events, current, ())
    both = [digest for digest in own if digest in others]
    if not both:
        raise NotProven(
            "nothing on record compares this model with the one that it would replace",
            value=candidate,
            expected="an evaluation of both on the same items",
            found=f"{len(own)} of the one, {len(others)} of the other, none in common",
            hint="`freehold eval CURRENT MODEL --data FILE --score HOW` measures both",
        )
    return Evidence(
        evaluations=tuple(own[digest] for digest in both),
        comparisons=tuple(compare_recorded(others[digest], own[digest]) for digest in both),
    )


def _latest(events: Events, model: str, unfit: Collection[str]) -> Mapping[str, Evaluation]:
    """The last evaluation on each set of items, but for those on unfit data."""
    found = (each for each in evaluations_of(events, model) if each.dataset not in unfit)
    return {each.task_digest: each for each in found}
