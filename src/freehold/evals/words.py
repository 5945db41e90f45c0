"""Figures in words: for a terminal and for a page alike.

Room: evals. Numbers in, short texts out.
"""

from __future__ import annotations

import math

from freehold.evals.items import Metric
from freehold.evals.results import Comparison, Result
from freehold.evals.statistics import Estimate

__all__ = ["difference_words", "figure", "p_words", "refusal_words"]


def figure(metric: Metric, estimate: Estimate, *, interval: bool = True) -> str:
    """A figure with its interval: "0.812  [0.759, 0.856]"."""
    if not math.isfinite(estimate.value):
        return "nothing measured"
    shown = (lambda value: f"{value:.4g}") if metric.kind == "perplexity" else _share
    told = shown(estimate.value)
    return f"{told}  [{shown(estimate.low)}, {shown(estimate.high)}]" if interval else told


def _share(value: float) -> str:
    return f"{value:.3f}"


def difference_words(comparison: Comparison) -> str:
    """A difference with its interval: "+0.120  [+0.061, +0.178]"; of perplexities in nats."""
    found = comparison.difference
    if not found.n:
        return "nothing to compare"
    unit = " nats" if comparison.metric.kind == "perplexity" else ""
    return f"{found.value:+.3f}{unit}  [{found.low:+.3f}, {found.high:+.3f}]"


def p_words(p: float) -> str:
    """A p in as many digits as mean anything."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def refusal_words(result: Result) -> str:
    """How many items a model could not be asked, and why; nothing if it was asked all."""
    refused = result.refused
    if not refused:
        return ""
    why = ", ".join(f"{count} {code}" for code, count in refused.items())
    return f"{result.target.name} could not be asked some items, which count as wrong: {why}"
