"""The NumPy twins of the ops of mixtures of experts, in float64 where the core adds up.

Room: ops. For tests only, like `reference.py`; must not know files or models. Shapes use the
dims of `freehold.ops`; X is the number of experts, k how many a token gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freehold.ops.reference import Floats, Matrix, gate_up, norm_project, project_add

__all__ = ["Rule", "mix_experts", "open_rows", "route"]

Wide = NDArray[np.float64]
Chosen = tuple[NDArray[np.int64], Floats]  # ids and weights, (T, k) each, best first


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How experts are chosen and weighed; the fields of `ops.RouterRule`."""

    chosen: int
    scoring: str = "softmax"
    renormalise: bool = False
    epsilon: float = 0.0
    scale: float = 1.0
    groups: int = 1
    groups_kept: int = 1
    group_top: int = 1


def route(
    x: Floats, norm: Floats, eps: float, weight: Matrix, bias: Floats | None, rule: Rule
) -> Chosen:
    """The experts of norm(x) (T, D) for a router (X, D), best first, ties by the lower id."""
    logits = norm_project(x, norm, eps, [weight], [None])[0].astype(np.float64)  # (T, X)
    if rule.scoring == "sigmoid":
        scores = 1 / (1 + np.exp(-logits))
    else:
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    ranked = scores if bias is None else scores + bias  # (T, X)
    if rule.groups > 1:
        ranked = np.where(_open_groups(ranked, rule), ranked, -np.inf)
    ids = np.argsort(-ranked, axis=1, kind="stable")[:, : rule.chosen]  # (T, k)
    weights = np.take_along_axis(scores, ids, axis=1)
    if rule.renormalise:
        weights = weights / (weights.sum(axis=1, keepdims=True) + rule.epsilon)
    return ids, (weights * rule.scale).astype(np.float32)


def _open_groups(ranked: Wide, rule: Rule) -> NDArray[np.bool_]:
    """Which experts are in a group that is kept, (T, X)."""
    grouped = ranked.reshape(len(ranked), rule.groups, -1)  # (T, groups, X / groups)
    best = -np.sort(-grouped, axis=2)[:, :, : rule.group_top].sum(axis=2)
    kept = np.argsort(-best, axis=1, kind="stable")[:, : rule.groups_kept]
    is_open = np.zeros(best.shape, bool)
    np.put_along_axis(is_open, kept, True, axis=1)
    return np.repeat(is_open, grouped.shape[2], axis=1)


def mix_experts(
    x: Floats,
    norm: Floats,
    eps: float,
    experts: Sequence[tuple[Matrix, Matrix, Matrix]],
    to: Chosen,
) -> Floats:
    """x (T, D) + the weighted sum of the chosen experts' gated MLPs of norm(x).

    `experts` has (gate, up, down) of each: (F, D), (F, D) and (D, F).
    """
    total = x.astype(np.float64)
    for t, (ids, weights) in enumerate(zip(*to, strict=True)):
        for place in np.argsort(ids):
            gate, up, down = experts[ids[place]]
            hidden = gate_up(x[t : t + 1], norm, eps, gate, up)  # (1, F)
            out = project_add(hidden, down, None, np.zeros_like(x[t : t + 1]))  # (1, D)
            total[t] += float(weights[place]) * out[0]
    return total.astype(np.float32)


def open_rows(gates: Floats, a: Floats) -> Floats:
    """a (T, N) times sigmoid(gates (T, 1))."""
    opened: Floats = (a / (1 + np.exp(-gates.astype(np.float64)))).astype(np.float32)
    return opened
