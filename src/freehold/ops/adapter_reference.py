"""The NumPy twins of the ops of adapters, in float64 where the core adds up.

Room: ops. For tests only, like `reference.py`; must not know files or models. Shapes use the dims
of `freehold.ops`; r is the rank of a pair of matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from freehold.ops.gate_reference import SILU, Gating, open_gate
from freehold.ops.reference import Floats

__all__ = ["Pair", "add_deltas", "gate_rows"]


@dataclass(frozen=True)
class Pair:
    """What an adapter adds to one matrix: scale B A."""

    lower: Floats  # A (r, D)
    upper: Floats  # B (N, r)
    scale: float


def add_deltas(
    x: Floats,
    norm: Floats | None,
    eps: float,
    adapters: Sequence[int],
    entries: Mapping[int, Sequence[Pair | None]],
    outs: Sequence[Floats],
) -> list[Floats]:
    """Each out (T, N_i) plus what the adapter of each token of x (T, D) adds; -1 is none."""
    n = x.astype(np.float64)  # (T, D)
    if norm is not None:
        n = n / np.sqrt((n**2).mean(axis=1, keepdims=True) + eps) * norm
    added = [out.astype(np.float64) for out in outs]
    for t, adapter in enumerate(adapters):
        for out, pair in zip(added, entries.get(adapter, ()), strict=False):
            if pair is not None:
                out[t] += pair.scale * (n[t] @ pair.lower.T.astype(np.float64)) @ pair.upper.T
    return [out.astype(np.float32) for out in added]


def gate_rows(up: Floats, gate: Floats, how: Gating = SILU) -> Floats:
    """gate opening up, (T, F)."""
    return open_gate(gate.astype(np.float64), up.astype(np.float64), how).astype(np.float32)
