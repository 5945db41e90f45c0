"""The NumPy twins of the encoders' ops: the same contract on plain arrays, slow and easy to read.

Room: ops. For tests only, like `reference.py`; must not know the compiled core, files or models.
Sums are float64; what an op rounds on purpose is rounded here too. Dims: those of `freehold.ops`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Norm",
    "PackedArrays",
    "activate",
    "attend_packed",
    "embed_packed",
    "fixed_weight",
    "layer_norm",
    "pool",
    "project",
    "project_add_norm",
    "round_fixed",
]

FIXED_BLOCK = 128  # columns that share a scale in Fixed16
FIXED_LEVELS = np.float32(4095)
SMALLEST = np.float32(1e-30)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Norm:
    """A layer norm's weight and bias (D,) and epsilon."""

    weight: Floats
    bias: Floats
    eps: float


@dataclass(frozen=True)
class PackedArrays:
    """Whole texts one after another; the fields of `ops.Packed`."""

    tokens: list[int]  # (T,)
    offsets: list[int]  # (S + 1,)
    types: list[int]  # (T,) or empty
    first_position: int = 0

    def spans(self) -> list[slice]:
        """The tokens of each text."""
        return [slice(a, b) for a, b in zip(self.offsets, self.offsets[1:], strict=False)]


def round_fixed(values: Floats) -> Doubles:
    """Values (N, K) as Fixed16 keeps them: per row and 128 columns, scale = largest / 4095.

    Scales and codes are those of the core, bit for bit.
    """
    out = np.empty(values.shape, np.float64)
    for first in range(0, values.shape[1], FIXED_BLOCK):
        block = values[:, first : first + FIXED_BLOCK]
        largest = np.abs(block).max(axis=1, keepdims=True)
        zeros = np.zeros_like(largest)
        inverse = np.divide(FIXED_LEVELS, largest, out=zeros, where=largest > SMALLEST)
        scale = (largest / FIXED_LEVELS).astype(np.float64)
        out[:, first : first + FIXED_BLOCK] = np.rint(block * inverse) * scale
    return out


def fixed_weight(values: Floats) -> Floats:
    """What `Weight.unpack` gives of a Fixed16 weight packed from these values."""
    return round_fixed(values).astype(np.float32)


def layer_norm(x: Doubles, norm: Norm) -> Floats:
    """x (T, D) with mean 0 and variance 1, times weight, plus bias."""
    centred = x - x.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + norm.eps)
    out: Floats = (centred * scale * norm.weight + norm.bias).astype(np.float32)
    return out


def embed_packed(
    words: Floats, positions: Floats, types: Floats | None, norm: Norm, packed: PackedArrays
) -> Floats:
    """norm(words[token] + types[type] + positions[place]), (T, D)."""
    places = [packed.first_position + t for span in packed.spans() for t in range(_length(span))]
    x = words[packed.tokens].astype(np.float64) + positions[places]
    if types is not None:
        x = x + types[packed.types or [0] * len(packed.tokens)]
    return layer_norm(x, norm)


def activate(x: Doubles, kind: str) -> Doubles:
    """The activations of `ops.ACTIVATIONS`: none, gelu (exact), gelu_tanh, relu."""
    if kind == "gelu":
        erfc = np.vectorize(math.erfc, otypes=[np.float64])
        out: Doubles = x * 0.5 * erfc(-x / math.sqrt(2))
        return out
    if kind == "gelu_tanh":
        bent: Doubles = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        return x * 0.5 * (1 + bent)
    return np.maximum(x, 0) if kind == "relu" else x


def project(
    x: Floats,
    weights: Sequence[Doubles],
    biases: Sequence[Floats | None],
    *,
    fixed: bool,
    activation: str = "none",
) -> list[Floats]:
    """activation(x (T, K) . weights[i]^T + biases[i]), (T, N_i) each.

    `fixed`: the weights are Fixed16, and the activations meet them rounded alike.
    """
    met = round_fixed(x) if fixed else x.astype(np.float64)
    outs = []
    for weight, bias in zip(weights, biases, strict=True):
        product: Doubles = met @ weight.T.astype(np.float64)
        if bias is not None:
            product = product + bias
        outs.append(activate(product, activation).astype(np.float32))
    return outs


def project_add_norm(
    a: Floats, weight: Doubles, bias: Floats | None, norm: Norm, x: Floats, *, fixed: bool
) -> Floats:
    """norm(x + a . weight^T + bias), (T, D)."""
    met = round_fixed(a) if fixed else a.astype(np.float64)
    total: Doubles = x + met @ weight.T.astype(np.float64)
    return layer_norm(total if bias is None else total + bias, norm)


def attend_packed(
    qkv: tuple[Floats, Floats, Floats], packed: PackedArrays, heads: int, scale: float
) -> Floats:
    """Each token's attention over its whole text, (T, H A)."""
    out = np.empty(qkv[0].shape, np.float64)
    for span in packed.spans():
        q, k, v = (_heads(part[span], heads) for part in qkv)  # (H, n, A)
        scores = q @ k.swapaxes(1, 2) * scale  # (H, n, n)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        out[span] = (weights @ v).swapaxes(0, 1).reshape(_length(span), -1)
    return out.astype(np.float32)


def pool(x: Floats, packed: PackedArrays, kind: str, *, normalise: bool) -> Floats:
    """One row for each text, by the kinds of `ops.POOLINGS`, (S, D)."""
    rows = []
    for span in packed.spans():
        part = x[span].astype(np.float64)
        row = {
            "mean": part.mean(axis=0),
            "cls": part[0],
            "last": part[-1],
            "max": part.max(axis=0),
            "mean_sqrt": part.sum(axis=0) / math.sqrt(len(part)),
        }[kind]
        rows.append(row / max(float(np.linalg.norm(row)), 1e-12) if normalise else row)
    return np.array(rows, np.float32)


def _length(span: slice) -> int:
    return int(span.stop) - int(span.start)


def _heads(x: Floats, heads: int) -> Doubles:
    """(n, H A) -> (H, n, A)."""
    return x.reshape(len(x), heads, -1).swapaxes(0, 1).astype(np.float64)
