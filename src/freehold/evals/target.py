"""What is measured: something that continues texts, answers messages, and weighs continuations.

Room: evals. The contract alone; must not know engines or HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from freehold.errors import FreeholdError
from freehold.evals.items import Generation, Pair, Prompt

__all__ = ["Answer", "Identity", "Scored", "Target"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model wrote; `refused` says why it wrote nothing, as a prompt that is too long."""

    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    generated_tokens: int = 0
    refused: FreeholdError | None = None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A continuation's log probability in nats; `greedy`: the model would have written just it."""

    logprob: float = 0.0
    tokens: int = 0
    greedy: bool = False
    refused: FreeholdError | None = None


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which model answered: a name, the digest of its weights where it is known, where it ran."""

    name: str
    digest: str | None = None
    via: str = "this process"
    details: dict[str, Any] = field(default_factory=dict)


class Target(Protocol):
    """A model under test. Results come as they are ready, each with its number of asking.

    What one item is refused for is in its result; whatever else goes wrong is raised.
    """

    @property
    def identity(self) -> Identity:
        """Which model this is."""

    def generate(self, prompts: Iterable[Prompt], how: Generation) -> Iterator[tuple[int, Answer]]:
        """An answer to each prompt."""

    def score(self, pairs: Iterable[tuple[Pair, ...]]) -> Iterator[tuple[int, list[Scored]]]:
        """The log probabilities of each group of continuations."""

    def read(self, texts: Iterable[str]) -> Iterator[tuple[int, Scored]]:
        """The log probability of each whole text, long ones in windows."""
