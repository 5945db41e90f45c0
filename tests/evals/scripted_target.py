"""A target whose answers are written in the test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from freehold.errors import FreeholdError
from freehold.evals import Answer, Data, Generation, Identity, Item, Metric, Pair, Scored, Task
from freehold.evals.items import Prompt
from freehold.evals.scoring import exact_scorer

DIGEST = "sha256:" + "ab" * 32
DATA = Data(name="a test's own", digest="sha256:" + "cd" * 32, licence="CC0-1.0")


@dataclass
class ScriptedTarget:
    """Says what `answers` makes of a prompt, and weighs by `nats`."""

    answers: Callable[[Prompt], str | FreeholdError] = str
    nats: Callable[[Pair], float] = lambda pair: -float(len(pair.continuation))
    name: str = "scripted"
    asked: list[Prompt] = field(default_factory=list)

    @property
    def identity(self) -> Identity:
        return Identity(name=self.name, digest=DIGEST)

    def generate(self, prompts: Iterable[Prompt], how: Generation) -> Iterator[tuple[int, Answer]]:
        for number, prompt in enumerate(prompts):
            self.asked.append(prompt)
            said = self.answers(prompt)
            if isinstance(said, FreeholdError):
                yield number, Answer(refused=said)
            else:
                yield number, Answer(text=said, finish_reason="stop", generated_tokens=1)

    def score(self, pairs: Iterable[tuple[Pair, ...]]) -> Iterator[tuple[int, list[Scored]]]:
        for number, group in enumerate(pairs):
            self.asked.append(group[0].prompt)
            yield number, [Scored(logprob=self.nats(pair), tokens=1) for pair in group]

    def read(self, texts: Iterable[str]) -> Iterator[tuple[int, Scored]]:
        for number, text in enumerate(texts):
            yield number, Scored(logprob=-0.5 * len(text), tokens=len(text))


def echo_task(count: int = 10, *, name: str = "echo") -> Task:
    """Items whose right answer is their prompt."""
    scorer = exact_scorer()
    return Task(
        name=name,
        items=[Item(id=str(i), prompt=f"p{i}", references=(f"p{i}",)) for i in range(count)],
        asks="answer",
        metrics=scorer.metrics,
        main="exact",
        data=DATA,
        scorers=(scorer,),
    )


def choice_task() -> Task:
    """Two items of two choices; the shorter is likelier, the longer likelier by character."""
    items = [
        Item(id="a", prompt="q", choices=(Pair("q", " no"), Pair("q", " maybe")), gold=0),
        Item(id="b", prompt="q", choices=(Pair("q", " no"), Pair("q", " maybe")), gold=1),
    ]
    metrics = (Metric(name="acc"), Metric(name="acc_norm"))
    return Task(name="two", items=items, asks="choice", metrics=metrics, main="acc", data=DATA)
