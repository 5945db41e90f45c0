"""What a task is made of: items, what is asked of a model about each, and figures.

Room: evals. Plain data; must not know how a model answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from freehold.errors import BadTask

if TYPE_CHECKING:
    from freehold.evals.scoring import Scorer

__all__ = ["Data", "Generation", "Item", "Metric", "Pair", "Prompt", "Task", "digest_of", "is_chat"]

Prompt = str | tuple[Mapping[str, Any], ...]
"""A text to continue, or messages to answer."""


def is_chat(prompt: Prompt) -> bool:
    """Whether the prompt is messages."""
    return not isinstance(prompt, str)


@dataclass(frozen=True)
class Pair:
    """A continuation to weigh after its prompt. Of messages it is the answer's beginning."""

    prompt: Prompt
    continuation: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question. `references` are right answers, `gold` the index of the right choice.

    `fields` are what a scorer needs besides: a schema, tests, the row as it came. `group` is
    reported apart.
    """

    id: str
    prompt: Prompt = ""
    references: tuple[str, ...] = ()
    choices: tuple[Pair, ...] = ()
    gold: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How answers are drawn. The default is greedy, so that a run can be had again."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure over items.

    "share" counts right and wrong, "mean" averages, "perplexity" is exp(nats / `over`), where items
    have their nats under `name` and the counts under `over`.
    """

    name: str
    kind: Literal["share", "mean", "perplexity"] = "share"
    about: str = ""
    over: str = ""

    @property
    def better(self) -> str:
        """Which way is better: "high" or "low"."""
        return "low" if self.kind == "perplexity" else "high"


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where items came from: a name, the sha256 of the bytes, terms as its publisher states."""

    name: str
    digest: str
    licence: str = "not stated"
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Items, how models are asked, and what is made of the answers.

    `asks`: "answer" has a model write and scorers judge; "choice" weighs each item's choices;
    "continuation" asks whether the one choice is what the model would write; "text" reads the
    prompt for its perplexity. `main` is the metric that the task is known by.
    """

    name: str
    items: Sequence[Item]
    asks: Literal["answer", "choice", "continuation", "text"]
    metrics: tuple[Metric, ...]
    main: str
    data: Data
    scorers: tuple[Scorer, ...] = ()
    generation: Generation = field(default_factory=Generation)
    about: str = ""

    def __post_init__(self) -> None:
        names = [metric.name for metric in self.metrics]
        if self.main not in names:
            raise BadTask("the main metric is none of the task's", value=self.main)
        if not self.items:
            raise BadTask("the task has no items", value=self.name, expected="at least one")
        ids = {item.id for item in self.items}
        if len(ids) != len(self.items):
            raise BadTask("two items have the same id", value=self.name)

    def metric(self, name: str) -> Metric:
        """A metric by its name."""
        return next(metric for metric in self.metrics if metric.name == name)

    @property
    def digest(self) -> str:
        """What was asked, and how it is judged: results with the same one are comparable."""
        return digest_of(
            [
                self.asks,
                [asdict(metric) for metric in self.metrics],
                [scorer.settings for scorer in self.scorers],
                asdict(self.generation) if self.asks == "answer" else None,
                [asdict(item) for item in self.items],
            ]
        )


def digest_of(value: object) -> str:
    """ "sha256:" and the digest of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
