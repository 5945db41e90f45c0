"""Runs steps: packs the tokens of several sequences into one forward pass.

Room: engine. Knows the model's contract and the pages; must not know sampling or text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.engine.pages import PageList, Sequence
from freehold.models.base import Model
from freehold.ops import PAGE_TOKENS, KvPool, Step

__all__ = ["Part", "Runner"]

_LOGIT_ROWS = 32  # rows of logits held at once when every token's are wanted


class Part(NamedTuple):
    """The tokens one sequence adds in a step; the logits of the last `wanted` are returned.

    `adapter` is the index of an attached adapter, -1 for the model as it is.
    """

    sequence: Sequence
    tokens: list[int]
    wanted: int = 1
    adapter: int = -1


class Runner:
    """A model with its KV pool. One step at a time; the pool's memory grows as pages are used.

    `kv_bits` 16 keeps keys and values as float16, 8 as int8 with scales: half the memory, and a
    small loss (benchmarks/divergence.py measures it).
    """

    def __init__(
        self, model: Model, *, tokens: int, step_tokens: int = 512, kv_bits: int = 16
    ) -> None:
        self.model = model
        self.step_tokens = step_tokens
        count = -(-tokens // PAGE_TOKENS)
        self.pages = PageList(count, PAGE_TOKENS)
        self.kv = KvPool(model.kv_spec().layers, count, kv_bits)

    def run(self, parts: list[Part]) -> NDArray[np.float32]:
        """One step. Returns the logits (S, V) of the wanted tokens, valid until the next step.

        Mutates: each part's sequence, longer by its tokens. Raises: OutOfPages.
        """
        tokens: list[int] = []
        positions: list[int] = []
        offsets = [0]
        wanted: list[int] = []
        for part in parts:
            start = part.sequence.length
            self.pages.extend(part.sequence, start + len(part.tokens))
            tokens += part.tokens
            positions += range(start, start + len(part.tokens))
            offsets.append(len(tokens))
            wanted += range(len(tokens) - part.wanted, len(tokens))
        pages = [part.sequence.pages for part in parts]
        adapters = [part.adapter for part in parts]
        step = Step(tokens, positions, offsets, pages, wanted, adapters=adapters)
        logits = self.model.forward(step, self.kv).numpy()[: len(wanted)]  # (S, V)
        for part in parts:
            part.sequence.length += len(part.tokens)
        return logits

    def prefill(
        self, sequence: Sequence, tokens: list[int], adapter: int = -1
    ) -> Iterator[NDArray[np.float32]]:
        """Runs a prompt in chunks; yields the logits (1, V) after each chunk."""
        for start in range(0, len(tokens), self.step_tokens):
            chunk = tokens[start : start + self.step_tokens]
            yield self.run([Part(sequence, chunk, adapter=adapter)])

    def logits(self, tokens: list[int], adapter: int = -1) -> NDArray[np.float32]:
        """Logits of every position, (T, V), in memory of their own."""
        out = np.empty((len(tokens), self.model.vocabulary), dtype=np.float32)
        sequence = Sequence()
        try:
            for start in range(0, len(tokens), _LOGIT_ROWS):
                chunk = tokens[start : start + _LOGIT_ROWS]
                part = Part(sequence, chunk, len(chunk), adapter)
                out[start : start + len(chunk)] = self.run([part])
        finally:
            self.pages.release(sequence)
        return out
