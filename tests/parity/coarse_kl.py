"""KL divergence from a distribution of which only the most likely tokens were kept."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def log_softmax(logits: Array) -> Array:
    """Over the last axis, in float64."""
    shifted: Array = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def coarse_kl(top: Array, top_log_p: Array, logits: Array) -> Array:
    """KL(p || softmax(logits)) with all tokens outside `top` taken as one; at most the full KL.

    Shapes: (N, K) token ids, (N, K) log-probabilities under p, (N, V) -> (N,).
    """
    p = np.exp(top_log_p.astype(np.float64))
    log_q = np.take_along_axis(log_softmax(logits), top.astype(np.int64), axis=-1)
    rest_p, rest_q = 1 - p.sum(axis=-1), 1 - np.exp(log_q).sum(axis=-1)
    divergence: Array = (p * (top_log_p - log_q)).sum(axis=-1)
    divergence += rest_p * np.log(rest_p / rest_q)
    return divergence
