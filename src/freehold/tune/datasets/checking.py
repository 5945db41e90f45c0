"""What is in a dataset: how much, what is wrong, said twice, held out and learned, or personal.

Room: tune. Findings name lines, kinds and counts, never a text. Must not know terminals or torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from freehold.errors import BadDataset
from freehold.library.progress import Progress, silent
from freehold.tune.datasets.examples import Example, Preference
from freehold.tune.datasets.likeness import Common, Pair, Seen
from freehold.tune.datasets.personal import personal_data
from freehold.tune.datasets.reading import read_examples

if TYPE_CHECKING:
    from freehold.tune.datasets.masking import Renderer

__all__ = ["LEAST_EXAMPLES", "Lengths", "Personal", "Report", "check", "check_enough"]

LEAST_EXAMPLES = 10
_MOST_PROBLEMS = 1000


@dataclass(frozen=True)
class Personal:
    """Personal data of one kind in one line."""

    line: int
    kind: str
    count: int


@dataclass(frozen=True)
class Lengths:
    """How long examples are, in tokens or characters."""

    total: int
    shortest: int
    median: int
    p95: int
    longest: int

    @classmethod
    def of(cls, counts: Sequence[int]) -> Lengths:
        """Of one number for each example; zeros for none."""
        if not counts:
            return cls(0, 0, 0, 0, 0)
        median, p95 = np.percentile(counts, [50, 95], method="higher")
        return cls(sum(counts), min(counts), int(median), int(p95), max(counts))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found. Lines are counted from 1.

    `tokens` and `learned_tokens` only where a model was named; `over_long` are the lines with more
    tokens than may be, and how many. A pair's `other` is an earlier line; of `leaks`, one of the
    other set. `more_problems`: how many were not kept.
    """

    rows: int
    kinds: Mapping[str, int]
    characters: Lengths
    tokens: Lengths | None
    learned_tokens: int | None
    renderings: int | None
    problems: tuple[BadDataset, ...]
    more_problems: int
    over_long: tuple[tuple[int, int], ...]
    duplicates: tuple[Pair, ...]
    leaks: tuple[Pair, ...]
    personal: tuple[Personal, ...]

    @property
    def trainable(self) -> bool:
        """Whether every line can be learned from as it is."""
        return not self.problems and not self.over_long and self.rows >= LEAST_EXAMPLES


@dataclass
class _Found:
    """What was counted so far."""

    kinds: Counter[str] = field(default_factory=Counter)
    characters: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    learned: int = 0
    renderings: int = 0
    problems: list[BadDataset] = field(default_factory=list)
    more: int = 0
    over_long: list[tuple[int, int]] = field(default_factory=list)
    duplicates: list[Pair] = field(default_factory=list)
    leaks: list[Pair] = field(default_factory=list)
    personal: list[Personal] = field(default_factory=list)

    def problem(self, error: BadDataset) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(error)
        else:
            self.more += 1


def check(  # noqa: PLR0913 - each by its name
    path: Path,
    *,
    form: str = "auto",
    mapping: Mapping[str, str] | None = None,
    renderer: Renderer | None = None,
    most_tokens: int | None = None,
    heldout: Iterable[Example | Preference] = (),
    progress: Progress = silent,
) -> Report:
    """Reads all of a file and goes on behind bad lines.

    With a `renderer` tokens are counted, and lines that its template does not write are problems;
    `most_tokens` is how many an example may have. `heldout` is what must not be learned.
    Raises: SetupError; OSError; BadDataset for a form that is none.
    """
    found = _Found()
    learned = Seen()
    kept_out = Seen()
    # Twice through the file: what every line has must be known before lines are compared.
    first = read_examples(path, form=form, mapping=mapping, on_bad=lambda _error: None)
    common = Common(one.whole for one in first)
    for one in heldout:
        kept_out.add(one.line, common.without(one.asked))
    size = path.stat().st_size
    for one in read_examples(path, form=form, mapping=mapping, on_bad=found.problem):
        text = one.whole
        found.characters.append(len(text))
        found.kinds[_kind(one)] += 1
        own = common.without(text)
        if (pair := learned.look(one.line, own)) is not None:
            found.duplicates.append(pair)
        learned.add(one.line, own)
        if (leak := kept_out.look(one.line, common.without(one.asked))) is not None:
            found.leaks.append(leak)
        counts = personal_data(text)
        found.personal += [Personal(one.line, kind, n) for kind, n in counts.items()]
        if renderer is not None:
            _count(one, renderer, most_tokens, found)
        progress("check", sum(found.characters), size)
    return _report(found, counted=renderer is not None)


def check_enough(rows: int) -> None:
    """Raises: BadDataset for fewer examples than anything can be learned from."""
    if rows < LEAST_EXAMPLES:
        raise BadDataset(
            "there is too little data to learn from",
            value=rows,
            expected=f"at least {LEAST_EXAMPLES} examples",
            found=str(rows),
        )


def _kind(one: Example | Preference) -> str:
    if isinstance(one, Preference):
        return "preferences"
    return "conversations" if one.text is None else "texts"


def _count(
    one: Example | Preference, renderer: Renderer, most_tokens: int | None, found: _Found
) -> None:
    examples = one.answers if isinstance(one, Preference) else (one,)
    try:
        made = [rendered for example in examples for rendered in renderer.render(example)]
    except BadDataset as error:
        found.problem(error)
        return
    longest = max(len(rendered.ids) for rendered in made)
    if most_tokens is not None and longest > most_tokens:
        found.over_long.append((one.line, longest))
    found.tokens.append(sum(len(rendered.ids) for rendered in made))
    found.learned += sum(int(rendered.learned.sum()) for rendered in made)
    found.renderings += len(made)


def _report(found: _Found, *, counted: bool) -> Report:
    return Report(
        rows=len(found.characters),
        kinds=dict(found.kinds),
        characters=Lengths.of(found.characters),
        tokens=Lengths.of(found.tokens) if counted else None,
        learned_tokens=found.learned if counted else None,
        renderings=found.renderings if counted else None,
        problems=tuple(found.problems),
        more_problems=found.more,
        over_long=tuple(found.over_long),
        duplicates=tuple(found.duplicates),
        leaks=tuple(found.leaks),
        personal=tuple(found.personal),
    )
