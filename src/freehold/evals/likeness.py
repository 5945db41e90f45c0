"""How alike two texts are: by shared words, runs of words, or edits of characters.

Room: evals. Texts in, numbers from 0 to 1 out.

Each measure is computed here from its definition; none needs a stemmer or a thesaurus.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from freehold.errors import BadTask

__all__ = ["MEASURES", "measure_named"]

_WORD = re.compile(r"\w+", re.UNICODE)
_MOST_WORDS = 2000  # the longest common run of words is quadratic

Measure = Callable[[str, str], float]


def measure_named(name: str) -> Measure:
    """A measure by its name. Raises: BadTask."""
    if name not in MEASURES:
        raise BadTask(
            "there is no such measure of likeness",
            value=name,
            expected=", ".join(sorted(MEASURES)),
            hint="cosine needs an embedder and METEOR a thesaurus; neither is offered",
        )
    return MEASURES[name]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())[:_MOST_WORDS]


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _f1(shared: float, first: float, second: float) -> float:
    return 2 * shared / (first + second) if first + second else 0.0


def _word_f1(text: str, reference: str) -> float:
    a, b = Counter(_words(text)), Counter(_words(reference))
    return _f1((a & b).total(), a.total(), b.total())


def _rouge(n: int) -> Measure:
    """ROUGE-N as an F1. Source: Lin 2004, without stemming."""

    def measure(text: str, reference: str) -> float:
        a, b = _grams(_words(text), n), _grams(_words(reference), n)
        return _f1((a & b).total(), a.total(), b.total())

    return measure


def _rouge_l(text: str, reference: str) -> float:
    """By the longest common run of words with gaps."""
    a, b = _words(text), _words(reference)
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for j, other in enumerate(b, start=1):
            here = row[j]
            row[j] = before + 1 if word == other else max(here, row[j - 1])
            before = here
    return _f1(row[-1], len(a), len(b))


def _bleu(text: str, reference: str) -> float:
    """Of one sentence, up to four words, with one added to both counts from pairs up.

    Source: Papineni et al. 2002; smoothing of Lin and Och 2004.
    """
    a, b = _words(text), _words(reference)
    if not a or not b:
        return 0.0
    total = 0.0
    for n in range(1, 5):
        ours, theirs = _grams(a, n), _grams(b, n)
        extra = 0 if n == 1 else 1
        shared, count = (ours & theirs).total() + extra, ours.total() + extra
        if not shared:
            return 0.0
        total += math.log(shared / count)
    return math.exp(total / 4 + min(0.0, 1 - len(b) / len(a)))


def _gleu(text: str, reference: str) -> float:
    """The lesser of precision and recall over one to four words. Source: Wu et al. 2016."""
    a, b = _words(text), _words(reference)
    shared = ours = theirs = 0
    for n in range(1, 5):
        left, right = _grams(a, n), _grams(b, n)
        shared += (left & right).total()
        ours += left.total()
        theirs += right.total()
    most = max(ours, theirs)
    return shared / most if most else 0.0


def _fuzzy(text: str, reference: str) -> float:
    """Shared characters in order, as `difflib` finds them, of both texts' lengths."""
    return SequenceMatcher(None, text, reference, autojunk=False).ratio()


MEASURES: dict[str, Measure] = {
    "fuzzy_match": _fuzzy,
    "f1": _word_f1,
    "bleu": _bleu,
    "gleu": _gleu,
    "rouge_l": _rouge_l,
    **{f"rouge_{n}": _rouge(n) for n in range(1, 6)},
}
"""By name, as the OpenAI interface spells them where it has them."""
