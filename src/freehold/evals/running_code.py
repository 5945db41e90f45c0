"""Judges code that a model wrote by running it against tests.

Room: evals. Joins answers with the sandbox; must not know models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.errors import BadTask
from freehold.evals.items import Item, Metric
from freehold.evals.sandbox import Isolation, Limits, run_program
from freehold.evals.scoring import Score

if TYPE_CHECKING:
    from freehold.evals.target import Answer

__all__ = ["code_scorer"]


@dataclass(frozen=True)
class _Code:
    """Runs what stands before, the answer, and the tests after it, as one program."""

    isolation: Isolation
    limits: Limits

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="passed", about=f"its tests pass; isolation: {self.isolation}"),)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"type": "code", **vars(self.limits)}

    def score(self, given: Sequence[tuple[Item, Answer]]) -> list[Score]:
        return [self._one(item, answer.text) for item, answer in given]

    def _one(self, item: Item, answer: str) -> Score:
        tests = item.fields.get("after")
        if not isinstance(tests, str):
            raise BadTask("the item has no tests to run the answer against", value=item.id)
        before = item.fields.get("before", "")
        program = f"{before}{_bare(answer, fenced=not before)}\n{tests}\n"
        ran = run_program(program, isolation=self.isolation, limits=self.limits)
        return Score(values={"passed": float(ran.passed)}, says=ran.status)


def _bare(answer: str, *, fenced: bool) -> str:
    """The code of an answer in words: what stands in its first fence, if it has one."""
    if not fenced or "```" not in answer:
        return answer
    inside = answer.split("```", 2)[1]
    first, _, rest = inside.partition("\n")
    return rest if first.strip().isalnum() or not first.strip() else inside


def code_scorer(*, isolation: Isolation = Isolation.full, limits: Limits | None = None) -> _Code:
    """Whether an item's `after` runs to its end behind the answer. Raises: NoIsolation.

    `before`, where the item has it, stands in front; else an answer's first fence is its code.
    Whether this machine can shut code in is found out now, and not after an hour of answers.
    """
    run_program("", isolation=isolation)
    return _Code(isolation, limits or Limits())
