"""The NumPy twins of the recurrent ops, in float64 throughout.

Room: ops. For tests only, like `reference.py`; must not know files or models. Dims: T tokens of one
sequence, C columns of a convolution and J its taps, Hk and Hv key and value heads, K and V their
widths.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["convolve", "delta_rule", "norm_gate", "open_values"]

Wide = NDArray[np.float64]
Values = NDArray[np.floating[Any]]


def convolve(x: Values, weight: Values, state: Wide) -> tuple[Wide, Wide]:
    """silu of the depthwise convolution of x (T, C), and the state (J - 1, C) after it."""
    inputs = np.concatenate([state, x])  # (J - 1 + T, C)
    taps = len(weight)
    sums = np.zeros(x.shape)
    for j in range(taps):
        sums += inputs[j : j + len(x)] * weight[j]
    return sums * _sigmoid(sums), inputs[len(inputs) - (taps - 1) :]


def delta_rule(
    qkv: Values,
    gates: tuple[Values, Values, Values, Values],
    key_heads: int,
    tiled: bool,
    state: Wide,
) -> tuple[Wide, Wide]:
    """What the queries find (T, Hv V), and the state (Hv, K, V) after it.

    `gates` are a and b (T, Hv), decay and dt_bias (Hv,).
    Source: arXiv 2412.06464, equation 10.
    """
    a, b, decay, dt_bias = gates
    value_heads, key_width, value_width = state.shape
    keys = key_heads * key_width
    query = _unit(qkv[:, :keys].reshape(-1, key_heads, key_width)) / np.sqrt(key_width)
    key = _unit(qkv[:, keys : 2 * keys].reshape(-1, key_heads, key_width))
    value = qkv[:, 2 * keys :].reshape(-1, value_heads, value_width)
    of = np.arange(value_heads)
    of = of % key_heads if tiled else of // (value_heads // key_heads)
    fade = np.exp(decay * np.logaddexp(0.0, a.astype(np.float64) + dt_bias))  # (T, Hv)
    beta = _sigmoid(b.astype(np.float64))
    state = state.copy()
    out = np.zeros((len(qkv), value_heads, value_width))
    for t in range(len(qkv)):
        q, k = query[t, of], key[t, of]  # (Hv, K)
        state *= fade[t, :, None, None]
        found = np.einsum("hk,hkv->hv", k, state)
        change = beta[t, :, None] * (value[t] - found)  # (Hv, V)
        state += k[:, :, None] * change[:, None, :]
        out[t] = np.einsum("hk,hkv->hv", q, state)
    return out.reshape(len(qkv), -1), state


def norm_gate(a: Values, norm: Values, eps: float, gate: Values) -> Wide:
    """The norm of each run of the weight's width times silu of its gate."""
    heads = a.astype(np.float64).reshape(len(a), -1, norm.size)
    mean = np.mean(heads**2, axis=-1, keepdims=True)
    normed = (heads / np.sqrt(mean + eps) * norm.reshape(-1)).reshape(a.shape)
    wide = gate.astype(np.float64)
    product: Wide = normed * wide * _sigmoid(wide)
    return product


def open_values(gates: Values, a: Values) -> Wide:
    """a (T, N) times sigmoid(gates (T, N))."""
    opened: Wide = a * _sigmoid(gates.astype(np.float64))
    return opened


def _unit(x: Values) -> Wide:
    wide = x.astype(np.float64)
    length: Wide = np.sqrt(np.sum(wide**2, axis=-1, keepdims=True) + 1e-6)
    return wide / length


def _sigmoid(x: Wide) -> Wide:
    opened: Wide = np.exp(-np.logaddexp(0.0, -x))
    return opened
