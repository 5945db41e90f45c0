"""Timing of prefill and decode, the way the field's benches define them.

Room: engine. Prefill: N prompt tokens, logits of the last one only. Decode: M single-token steps
with logits each; choosing the token is left out. Both after `depth` tokens already in the cache.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from freehold import ops
from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner

__all__ = ["Measurable", "Measurement", "measure"]


@dataclass(frozen=True)
class Measurement:
    """Tokens a second, the median of the repeats, summed over the batch."""

    test: str
    prompt: int
    generate: int
    batch: int
    depth: int
    threads: int
    isa: str
    repeats: int
    tokens_per_s: float


class Measurable(Protocol):
    """What a bench needs: a runner with room for `tokens` tokens of `sequences` sequences."""

    def new_runner(self, tokens: int, sequences: int) -> Runner:
        """A runner of its own over the same weights."""


def measure(
    model: Measurable, *, prompt: int, generate: int, batch: int, depth: int, repeats: int
) -> Iterator[Measurement]:
    """Yields a prefill measurement if `prompt` > 0, then a decode one if `generate` > 0."""
    for test, count in (("prefill", prompt), ("decode", generate)):
        if count == 0:
            continue
        room = batch * (-(-(depth + count) // ops.PAGE_TOKENS) * ops.PAGE_TOKENS)
        runner = model.new_runner(room, 2 * batch)  # they, and a mark of each
        timings = _Timings(runner, depth, batch)
        seconds = [timings.run(test, count) for _ in range(repeats + 1)][1:]  # the first warms up
        yield Measurement(
            test=test,
            prompt=prompt if test == "prefill" else 0,
            generate=generate if test == "decode" else 0,
            batch=batch,
            depth=depth,
            threads=ops.threads(),
            isa=ops.isa_name(),
            repeats=repeats,
            tokens_per_s=batch * count / statistics.median(seconds),
        )


class _Timings:
    """`batch` sequences filled to `depth` once; each run continues from there and goes back."""

    def __init__(self, runner: Runner, depth: int, batch: int) -> None:
        self.runner = runner
        self.sequences = [Sequence() for _ in range(batch)]
        for sequence in self.sequences:
            for _ in runner.prefill(sequence, self._tokens(depth)):
                pass
        self.marks = [runner.mark(sequence) for sequence in self.sequences]

    def _tokens(self, count: int) -> list[int]:
        return [(i * 7919 + 17) % self.runner.model.vocabulary for i in range(count)]

    def run(self, test: str, count: int) -> float:
        start = time.perf_counter()
        if test == "prefill":
            for sequence in self.sequences:
                for _ in self.runner.prefill(sequence, self._tokens(count)):
                    pass
        else:
            for token in self._tokens(count):
                self.runner.run([Part(sequence, [token]) for sequence in self.sequences])
        seconds = time.perf_counter() - start
        for sequence, mark in zip(self.sequences, self.marks, strict=True):
            self.runner.rewind(sequence, mark)
        return seconds
