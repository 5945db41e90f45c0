"""Tasks that reasoning-gym makes from a seed, judged by its own verifiers.

Room: evals. The one place that imports that package; must not know models.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.errors import BadTask, MissingData
from freehold.evals.items import Data, Generation, Item, Metric, Task, digest_of
from freehold.evals.scoring import Score

if TYPE_CHECKING:
    from freehold.evals.target import Answer

__all__ = ["PREFIX", "procedural_names", "procedural_task"]

PREFIX = "reasoning-gym:"
_VERSION = "0.1.25"
_COUNT = 100
_SEED = 42
_TOLD = (
    "Think it through, then give your final answer between <answer> and </answer>, and nothing "
    "else between these marks."
)
_MARKED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def procedural_names() -> list[str]:
    """What the package can make. Raises: MissingData."""
    return sorted(_factory().DATASETS)


def procedural_task(name: str, *, limit: int | None = None, seed: int = _SEED) -> Task:
    """`reasoning-gym:NAME`, a hundred items unless `limit` says otherwise.

    Raises: BadTask, MissingData.
    """
    factory, kind = _factory(), name.removeprefix(PREFIX)
    if kind not in factory.DATASETS:
        raise BadTask(
            "reasoning-gym makes no such task",
            value=kind,
            expected=", ".join(sorted(factory.DATASETS)),
        )
    count = _COUNT if limit is None else limit
    made = factory.create_dataset(kind, size=count, seed=seed)
    entries = [made[i] for i in range(count)]
    items = [
        Item(
            id=str(i),
            prompt=(
                {"role": "system", "content": _TOLD},
                {"role": "user", "content": str(entry["question"])},
            ),
            references=(str(entry["answer"]),),
            fields={"number": i},
        )
        for i, entry in enumerate(entries)
    ]
    scorer = _Verified(made, entries, kind)
    asked = [[entry["question"], entry["answer"]] for entry in entries]
    return Task(
        name=name,
        items=items,
        asks="answer",
        metrics=scorer.metrics,
        main="score",
        data=Data(
            name=name,
            digest=digest_of(asked),
            licence="Apache-2.0",
            source=f"reasoning-gym=={_version()}, seed {seed}",
        ),
        scorers=(scorer,),
        generation=Generation(max_tokens=1024),
        about=f"made by reasoning-gym from seed {seed}",
    )


@dataclass(frozen=True)
class _Verified:
    """The package's own judgement, from 0 to 1, of what stands between the marks."""

    made: Any
    entries: Sequence[Mapping[str, Any]]
    kind: str

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="score", kind="mean", about="the verifier's, 0 to 1"),)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"type": "reasoning-gym", "kind": self.kind, "version": _version()}

    def score(self, given: Sequence[tuple[Item, Answer]]) -> list[Score]:
        scores = []
        for item, answer in given:
            marked = _MARKED.findall(answer.text)
            entry = self.entries[item.fields["number"]]
            value = self.made.score_answer(marked[-1].strip(), entry) if marked else 0.0
            says = "" if marked else "no answer between the marks"
            scores.append(Score(values={"score": min(1.0, max(0.0, float(value)))}, says=says))
        return scores


def _factory() -> Any:
    """The package's own table and maker."""
    try:
        return importlib.import_module("reasoning_gym.factory")
    except ImportError as error:
        raise MissingData(
            "reasoning-gym is not on this machine, or a package that it needs is not",
            value=error.name,
            hint=f"pip install reasoning-gym=={_VERSION} (Apache-2.0)",
        ) from error


def _version() -> str:
    try:
        return importlib.metadata.version("reasoning-gym")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
