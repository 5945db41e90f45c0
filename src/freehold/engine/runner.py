"""Runs steps: packs the tokens of several sequences into one forward pass.

Room: engine. Knows the model's contract and the pages; must not know sampling or text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.engine.pages import PageList, Sequence
from freehold.engine.states import StateList
from freehold.models.base import Model
from freehold.ops import PAGE_TOKENS, KvPool, StatePool, Step

__all__ = ["Mark", "Part", "Runner", "slot_bytes"]

_LOGIT_ROWS = 32  # rows of logits held at once when every token's are wanted


class Part(NamedTuple):
    """The tokens one sequence adds in a step; the logits of the last `wanted` are returned.

    `adapter` is the index of an attached adapter, -1 for the model as it is.
    """

    sequence: Sequence
    tokens: list[int]
    wanted: int = 1
    adapter: int = -1


def slot_bytes(model: Model) -> int:
    """The memory that one sequence's recurrent state takes; 0 where the model has none."""
    spec = model.kv_spec()
    return StatePool(spec.states, 1).slot_bytes if spec.states else 0


class Mark(NamedTuple):
    """A place in a sequence that it can be put back to."""

    length: int
    slot: int | None


class Runner:
    """A model with its KV pool. One step at a time; the pool's memory grows as pages are used.

    `kv_bits` 16 keeps keys and values as float16, 8 as int8 with scales: half the memory, and a
    small loss (benchmarks/divergence.py measures it). A model with recurrent states gets `slots` of
    them: for sequences that run at once, and for snapshots. `whole`: every token passes the whole
    network, whether or not a logit depends on it, for somebody who watches.
    """

    def __init__(
        self,
        model: Model,
        *,
        tokens: int,
        step_tokens: int = 512,
        kv_bits: int = 16,
        slots: int = 16,
        whole: bool = False,
    ) -> None:
        self.model = model
        self.step_tokens = step_tokens
        self.whole = whole
        count = -(-tokens // PAGE_TOKENS)
        spec = model.kv_spec()
        self.kv = KvPool(spec.layers, count, kv_bits)
        states = None
        if spec.states:
            self.kv.states = pool = StatePool(spec.states, slots)
            states = StateList(slots, pool.copy)
        self.pages = PageList(count, PAGE_TOKENS, states, self.kv.copy)

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
        slots = [part.sequence.slot for part in parts if part.sequence.slot is not None]
        adapters = [part.adapter for part in parts]
        step = Step(tokens, positions, offsets, pages, wanted, slots=slots, adapters=adapters)
        logits = self.model.forward(step, self.kv, whole=self.whole)
        for part in parts:
            part.sequence.length += len(part.tokens)
        return logits.numpy()[: len(wanted)]  # (S, V)

    def mark(self, sequence: Sequence) -> Mark:
        """Keeps the place that a sequence has come to. Raises: OutOfPages, without a free slot."""
        states, pool = self.pages.states, self.kv.states
        if states is None or pool is None or sequence.slot is None:
            return Mark(sequence.length, None)
        mark = Sequence()
        self.pages.seat(mark)
        assert mark.slot is not None, "a seat without a slot"
        pool.copy(sequence.slot, mark.slot)
        return Mark(sequence.length, mark.slot)

    def rewind(self, sequence: Sequence, mark: Mark) -> None:
        """Puts a sequence back to its mark, which stays; later tokens are overwritten."""
        sequence.length = mark.length
        if mark.slot is not None and sequence.slot is not None and self.kv.states is not None:
            self.kv.states.copy(mark.slot, sequence.slot)

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
