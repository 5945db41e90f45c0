"""The NumPy twins of the ops of mixtures of experts, in float64 where the core adds up.

Room: ops. For tests only, like `reference.py`; must not know files or models. Shapes use the
dims of `freehold.ops`; X is the number of experts, k how many a token gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.ops.gate_reference import SILU, Gating, open_gate
from freehold.ops.reference import Floats, Matrix, norm_project

__all__ = ["PLAIN", "Experts", "Rule", "Terms", "mix_experts", "open_rows", "route"]

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


@dataclass(frozen=True, kw_only=True)
class Experts:
    """What `ops.mix_experts` takes beside the matrices; biases are (X, F), (X, F) and (X, D)."""

    gating: Gating = SILU
    gate_bias: Floats | None = None
    up_bias: Floats | None = None
    down_bias: Floats | None = None
    weigh_inputs: bool = False


class Terms(NamedTuple):
    """What a router adds beside its matrix, (X,) each; as `ops.route` takes them."""

    bias: Floats | None = None
    offsets: Floats | None = None
    factors: Floats | None = None


PLAIN = Experts()


def route(
    x: Floats,
    norm: Floats,
    eps: float,
    weight: Matrix,
    terms: Terms,
    rule: Rule,
) -> Chosen:
    """The experts of norm(x) (T, D) for a router (X, D), best first, ties by the lower id."""
    logits = norm_project(x, norm, eps, [weight], [terms.offsets])[0].astype(np.float64)  # (T, X)
    if rule.scoring == "sigmoid":
        scores = 1 / (1 + np.exp(-logits))
    else:
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    ranked = scores if terms.bias is None else scores + terms.bias  # (T, X)
    if rule.groups > 1:
        ranked = np.where(_open_groups(ranked, rule), ranked, -np.inf)
    ids = np.argsort(-ranked, axis=1, kind="stable")[:, : rule.chosen]  # (T, k)
    weights = np.take_along_axis(scores, ids, axis=1)
    if rule.renormalise:
        weights = weights / (weights.sum(axis=1, keepdims=True) + rule.epsilon)
    weights = weights * rule.scale * (1 if terms.factors is None else terms.factors[ids])
    return ids, weights.astype(np.float32)


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
    rule: Experts = PLAIN,
) -> Floats:
    """x (T, D) + the weighted sum of the chosen experts' gated MLPs of norm(x).

    `experts` has (gate, up, down) of each: (F, D), (F, D) and (D, F).
    """
    total = x.astype(np.float64)
    for t, (ids, weights) in enumerate(zip(*to, strict=True)):
        for place in np.argsort(ids):
            own = float(weights[place])
            met = norm_project(x[t : t + 1], norm, eps, experts[ids[place]][:2], [None, None])
            out = _finish_expert(met, experts[ids[place]][2], ids[place], own, rule)
            total[t] += out if rule.weigh_inputs else own * out
    return total.astype(np.float32)


def _finish_expert(
    met: Sequence[Floats], down: Matrix, index: int, weight: float, rule: Experts
) -> Floats:
    """What one expert makes of a token whose gate and up (1, F) are `met`, (D,)."""
    gate, up = (part * (weight if rule.weigh_inputs else 1.0) for part in met)
    if rule.gate_bias is not None:
        gate = gate + rule.gate_bias[index]
    if rule.up_bias is not None:
        up = up + rule.up_bias[index]
    hidden = open_gate(gate.astype(np.float64), up.astype(np.float64), rule.gating)
    out: Floats = norm_project(hidden.astype(np.float32), None, 0.0, [down], [None])[0][0]
    return out if rule.down_bias is None else out + rule.down_bias[index]


def open_rows(gates: Floats, a: Floats) -> Floats:
    """a (T, N) times sigmoid(gates (T, 1))."""
    opened: Floats = (a / (1 + np.exp(-gates.astype(np.float64)))).astype(np.float32)
    return opened
