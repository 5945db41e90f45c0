"""The NumPy twins of gates and of ops on whole rows, in float64 where the core rounds last.

Room: ops. For tests only, like `reference.py`; must not know files or models. Shapes use the
dims of `freehold.ops`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SILU", "Gating", "multiply_part", "open_gate", "scale", "softcap"]

Floats = NDArray[np.float32]


class Gating(NamedTuple):
    """How a gate opens; the arguments of `ops.Gating`, its kind by name."""

    kind: str = "silu"
    slope: float = 1.0
    limit: float = 0.0


SILU = Gating()


def open_gate(
    gate: NDArray[np.float64], up: NDArray[np.float64], how: Gating
) -> NDArray[np.float64]:
    """What a gate g lets through of u: silu(g) u, gelu_tanh(g) u, or the clamped form."""
    slope = 1.0
    if how.kind == "gelu_tanh":
        inner = np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)
        return np.asarray(0.5 * gate * (1 + np.tanh(inner)) * up)
    if how.kind == "clamped":
        slope = how.slope
        gate = np.minimum(gate, how.limit)
        up = np.clip(up, -how.limit, how.limit) + 1
    with np.errstate(over="ignore"):
        return np.asarray(gate / (1 + np.exp(-slope * gate)) * up)


def scale(x: Floats, factor: float) -> Floats:
    """x (T, D) times the factor; zeros for 0, whatever x held."""
    return np.zeros_like(x) if factor == 0 else (x * np.float32(factor)).astype(np.float32)


def softcap(x: Floats, cap: float) -> Floats:
    """cap tanh(x / cap), (T, V)."""
    capped: Floats = (cap * np.tanh(x.astype(np.float64) / cap)).astype(np.float32)
    return capped


def multiply_part(by: Floats, first: int, x: Floats) -> Floats:
    """x (T, N) times the N columns of by (T, M) from `first` on."""
    part: Floats = x * by[:, first : first + x.shape[1]]
    return part
