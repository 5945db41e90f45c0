"""Naive Bayes over words: what a label task is worth without any language model.

Room: evals. Texts and labels; must not know models.

The multinomial model with one added to each count. Source: Manning, Raghavan and Schütze,
Introduction to Information Retrieval, figure 13.2. Words are runs of letters and digits.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadTask
from freehold.evals.items import Generation, Pair, Prompt
from freehold.evals.target import Answer, Identity, Scored

__all__ = ["BayesTarget", "NaiveBayes", "text_of"]

_WORD = re.compile(r"[^\W_]+")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class NaiveBayes:
    """What was counted: `labels`, the words' places, and log probabilities (labels, words)."""

    labels: tuple[str, ...]
    places: dict[str, int]
    prior: NDArray[np.float64]
    likelihood: NDArray[np.float64]

    @classmethod
    def fit(cls, texts: Sequence[str], labels: Sequence[str]) -> NaiveBayes:
        """Counts words by label. Raises: BadTask for nothing to count."""
        if not texts or len(texts) != len(labels):
            raise BadTask("naive Bayes needs texts with their labels", expected="at least one")
        names = tuple(sorted(set(labels)))
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for text, label in zip(texts, labels, strict=True):
            counts[label].update(_words(text))
        words = sorted(set().union(*counts.values()))
        places = {word: i for i, word in enumerate(words)}
        table = np.ones((len(names), max(len(words), 1)))
        for row, name in enumerate(names):
            for word, count in counts[name].items():
                table[row, places[word]] += count
        often = Counter(labels)
        prior = np.log([often[name] / len(labels) for name in names])
        return cls(names, places, prior, np.log(table / table.sum(axis=1, keepdims=True)))

    def weigh(self, text: str) -> NDArray[np.float64]:
        """Log probabilities of the labels, (labels,); words never met say nothing."""
        told = self.prior.copy()
        for word in _words(text):
            if (place := self.places.get(word)) is not None:
                told += self.likelihood[:, place]
        peak = told.max()
        return np.asarray(told - peak - np.log(np.exp(told - peak).sum()))

    def label(self, text: str) -> str:
        """The likeliest label."""
        return self.labels[int(self.weigh(text).argmax())]


@dataclass(frozen=True)
class BayesTarget:
    """Naive Bayes as a target, so that it stands in the same tables as models do.

    It reads the last message of a person, or the text, and answers with a label.
    """

    bayes: NaiveBayes
    trained_on: str

    @property
    def identity(self) -> Identity:
        """Its name alone: there are no weights to be on record."""
        return Identity(name="naive Bayes", details={"trained on": self.trained_on})

    def generate(self, prompts: Iterable[Prompt], how: Generation) -> Iterator[tuple[int, Answer]]:
        """The likeliest label of each prompt."""
        del how
        for number, prompt in enumerate(prompts):
            yield number, Answer(text=self.bayes.label(text_of(prompt)), finish_reason="stop")

    def score(self, pairs: Iterable[tuple[Pair, ...]]) -> Iterator[tuple[int, list[Scored]]]:
        """The labels' log probabilities. Raises: BadTask for a choice that is no label."""
        for number, group in enumerate(pairs):
            weighed = self.bayes.weigh(text_of(group[0].prompt))
            told = dict(zip(self.bayes.labels, weighed, strict=True))
            names = [pair.continuation.strip() for pair in group]
            if not set(names) <= set(told):
                raise BadTask("naive Bayes never met a label of the task", expected=str(len(told)))
            yield number, [Scored(logprob=float(told[name]), tokens=1) for name in names]

    def read(self, texts: Iterable[str]) -> Iterator[tuple[int, Scored]]:
        """Raises: BadTask, since it knows labels only."""
        del texts
        raise BadTask("naive Bayes reads no text for its perplexity", expected="a task with labels")


def text_of(prompt: Prompt) -> str:
    """The words of a prompt that are about the item: of messages, the last one of a person."""
    if isinstance(prompt, str):
        return prompt
    said = [message.get("content") for message in prompt if message.get("role") == "user"]
    return said[-1] if said and isinstance(said[-1], str) else ""
