"""How far an export's answers are from the adapter's, token by token, on lines held out.

Room: tune. Runs both models; must not know licences, records or terminals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.engine.pages import Sequence as Tokens
from freehold.engine.runner import Part, Runner
from freehold.errors import AnswersDrift, BadExport
from freehold.formats.gguf import open_gguf
from freehold.library.progress import Progress
from freehold.loading.adapters import load_adapter
from freehold.loading.gguf import Loaded
from freehold.loading.opening import load_model
from freehold.quantize import Loss
from freehold.quantize.loss import Meter

__all__ = ["Bound", "Lines", "Said", "check_drift", "measure_drift"]

_STEP_TOKENS = 128  # positions whose logits are held at once
_BITS = 16  # of the adapter that is compared with: the nearer to its own values


@dataclass(frozen=True, kw_only=True)
class Bound:
    """How far an export may be from its adapter. Units: KL in nats a token, a share of tokens."""

    mean_kl: float = 0.1
    agreement: float = 0.9

    def __post_init__(self) -> None:
        if not (0 < self.mean_kl < 100 and 0 <= self.agreement <= 1):
            raise BadExport(
                "this is no bound",
                value=f"{self.mean_kl}, {self.agreement}",
                expected="a mean KL above 0, and a share from 0 to 1",
            )


class Said(NamedTuple):
    """A line as tokens, and which of them are answers: only those are compared."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Lines:
    """What the models are compared on. The name and the digest are for the record."""

    said: tuple[Said, ...]
    name: str
    sha256: str

    @classmethod
    def of(cls, said: Sequence[Said], name: str) -> Lines:
        """Lines by their tokens."""
        digest = sha256(repr([line.ids for line in said]).encode()).hexdigest()
        return cls(said=tuple(said), name=name, sha256=digest)


def measure_drift(
    base: Path, adapter: Path, export: Path, lines: Lines, progress: Progress
) -> Loss:
    """The base with the adapter beside what was exported of it, a model or another adapter.

    Raises: LoadError, FormatError for what cannot be loaded; BadExport for lines that say nothing.
    Peak memory: both models.
    """
    ours = load_model(base)
    load_adapter(adapter, ours, bits=_BITS).attach(0)
    if _is_adapter(export):
        load_adapter(export, ours, bits=_BITS).attach(1)
        theirs, index = ours, 1
    else:
        theirs, index = load_model(export), -1
    meter, done = Meter(), 0
    total = sum(len(line.ids) for line in lines.said)
    for line in lines.said:
        pairs = zip(_logits(ours, line.ids, 0), _logits(theirs, line.ids, index), strict=True)
        start = 0
        for adapted, exported in pairs:
            _add(meter, line, start, adapted, exported)
            start += len(adapted)
            progress("compare", done + start, total)
        done += len(line.ids)
    if meter.is_empty:
        raise BadExport(
            "the lines to compare on hold no answer",
            value=lines.name,
            expected="conversations in which the assistant says something",
            found=f"{len(lines.said)} lines without",
        )
    return meter.loss()


def check_drift(found: Loss, bound: Bound) -> None:
    """Raises: AnswersDrift, its value the mean KL, past the bound."""
    if found.mean_kl <= bound.mean_kl and found.agreement >= bound.agreement:
        return
    raise AnswersDrift(
        "the export answers otherwise than the adapter; nothing was written",
        value=found.mean_kl,
        expected=f"a mean KL of at most {bound.mean_kl:g}, and the same next token at "
        f"{bound.agreement:.0%} of the places at least",
        found=f"{found.mean_kl:.4f} and {found.agreement:.1%} of {found.tokens}",
        hint="choose a larger type, lines that are like the adapter's own task, or another bound",
    )


def _is_adapter(path: Path) -> bool:
    if path.is_dir():
        return (path / "adapter_config.json").is_file()
    with open_gguf(path) as file:
        return file.metadata.get("general.type") == "adapter"


def _logits(loaded: Loaded, ids: Sequence[int], adapter: int) -> Iterator[NDArray[np.float32]]:
    """The logits of a text in pieces, (T, V): copies, since both may be one model's."""
    runner, sequence = Runner(loaded.model, tokens=len(ids), slots=1), Tokens()
    for start in range(0, len(ids), _STEP_TOKENS):
        piece = list(ids[start : start + _STEP_TOKENS])
        yield runner.run([Part(sequence, piece, len(piece), adapter)]).copy()


def _add(
    meter: Meter,
    line: Said,
    start: int,
    adapted: NDArray[np.float32],
    exported: NDArray[np.float32],
) -> None:
    """The positions whose next token is an answer's. Mutates: meter."""
    following = range(start + 1, min(start + 1 + len(adapted), len(line.ids)))
    places = [at for at in following if line.learned[at]]
    if not places:
        return
    rows = np.asarray(places) - start - 1
    meter.add(adapted[rows], exported[rows], [line.ids[at] for at in places])
