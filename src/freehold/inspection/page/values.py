"""The sections about values: heat maps, distributions, outliers, and the table of all tensors.

Room: inspection. Shows what a report says; must not gather anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from freehold.inspection.layers import Grid, grid_of, kurtosis, spread
from freehold.inspection.page.markup import Html, join, tag
from freehold.inspection.page.page import Column, table, tabs
from freehold.inspection.page.plots import Cell, curve, heat_map, lines, scale_of
from freehold.inspection.page.sections import size_of
from freehold.inspection.report import TensorReport
from freehold.inspection.statistics import Histogram

__all__ = ["distributions_section", "grid_picture", "tensors_section", "values_section"]

_MOST_ROWS = 3000
_MOST_CURVES = 48
_POINTS = 56
_OUTLIERS = 12


def values_section(tensors: Sequence[TensorReport]) -> Html:
    """Heat maps of what changes over depth, and the largest values with their places."""
    panes = []
    for title, figure, logarithmic, note in (
        ("Spread", spread, False, "Standard deviation of each matrix."),
        (
            "Heavy tails",
            kurtosis,
            True,
            "Excess kurtosis on a logarithmic scale: a few values far larger than the rest, which "
            "low-bit types keep badly.",
        ),
        (
            "Largest value",
            _farthest,
            True,
            "The largest value of each matrix in standard deviations, on a logarithmic scale.",
        ),
    ):
        grid = grid_of(tensors, figure)
        if not grid.empty:
            picture = grid_picture(grid, logarithmic=logarithmic)
            panes.append((title, join((tag("p", note, of="note"), picture))))
    return join((tabs(panes) if panes else None, tag("h3", "Largest values"), _outliers(tensors)))


def _farthest(tensor: TensorReport) -> float | None:
    """How many standard deviations its largest value is from the mean."""
    if tensor.stats is None or not tensor.stats.outliers:
        return None
    return max(abs(outlier.deviations) for outlier in tensor.stats.outliers)


def grid_picture(
    grid: Grid, *, logarithmic: bool, form: Callable[[float], str] = "{:.4g}".format
) -> Html:
    """A grid as a heat map with one scale for all of it, and the scale's ends."""
    known = [value for row in grid.values for value in row if value is not None]
    scale = scale_of(known, logarithmic=logarithmic)
    cells = [
        [
            Cell(None, "") if value is None else Cell(scale(value), f"{name}: {form(value)}")
            for value, name in zip(values, names, strict=True)
        ]
        for values, names in zip(grid.values, grid.names, strict=True)
    ]
    ends = f"from {form(min(known))} (cold) to {form(max(known))} (warm); layers along the foot"
    picture = heat_map(grid.roles, [*map(str, grid.layers)], cells)
    return join((picture, tag("p", ends, of="note")))


def _outliers(tensors: Sequence[TensorReport]) -> Html:
    found = [
        (abs(outlier.deviations), tensor, outlier)
        for tensor in tensors
        if tensor.stats is not None and len(tensor.shape) > 1
        for outlier in tensor.stats.outliers
    ]
    rows = [
        (
            tensor.name,
            ", ".join(map(str, outlier.place)),
            (f"{outlier.value:.4g}", outlier.value),
            (f"{outlier.deviations:+.1f}", deviations),
        )
        for deviations, tensor, outlier in sorted(found, key=lambda item: -item[0])[:_OUTLIERS]
    ]
    columns = [
        Column("tensor"),
        Column("row, column"),
        Column("value", True),
        Column("deviations", True),
    ]
    return table(columns, rows)


def distributions_section(tensors: Sequence[TensorReport]) -> Html:
    """For each role the distributions of its layers, one line each, cold at the first layer."""
    by_role: dict[str, list[TensorReport]] = {}
    for tensor in tensors:
        layered = tensor.part.layer is not None and not tensor.part.stack
        if layered and tensor.stats is not None and len(tensor.shape) > 1:
            by_role.setdefault(tensor.part.role, []).append(tensor)
    outside = [
        tensor
        for tensor in tensors
        if tensor.part.layer is None and tensor.stats is not None and len(tensor.shape) > 1
    ]
    roles = grid_of(tensors, spread).roles
    pictures = [_role_lines(role, by_role[role]) for role in roles if role in by_role]
    pictures += [_role_lines(tensor.part.role, [tensor]) for tensor in outside]
    note = "Each line is one layer: the first ones cold, the last ones warm."
    return join((tag("p", note, of="note"), tag("div", *pictures, of="grid")))


def _role_lines(role: str, tensors: list[TensorReport]) -> Html:
    step = -(-len(tensors) // _MOST_CURVES)
    shown = [tensor for tensor in tensors[::step] if tensor.stats is not None]
    lows = [t.stats.histogram.low for t in shown if t.stats is not None]
    highs = [t.stats.histogram.high for t in shown if t.stats is not None]
    low, high = float(np.quantile(lows, 0.1)), float(np.quantile(highs, 0.9))
    if not low < high:
        low, high = min(lows) - 1.0, max(highs) + 1.0
    curves = [
        (
            n / max(len(shown) - 1, 1),
            _density(tensor.stats.histogram, low, high),
            f"{tensor.name}: standard deviation {tensor.stats.std:.4g}",
        )
        for n, tensor in enumerate(shown)
        if tensor.stats is not None
    ]
    return lines(role, curves, low, high)


def _density(histogram: Histogram, low: float, high: float) -> list[float]:
    """The share of values for a unit of width, at points of the range."""
    counts = np.asarray(histogram.counts, np.float64)
    width = (histogram.high - histogram.low) / len(counts)
    if not width > 0:
        return [0.0] * _POINTS
    edges = histogram.low + width * np.arange(len(counts) + 1)
    below = np.concatenate([[0.0], np.cumsum(counts)]) / max(counts.sum(), 1.0)
    at = np.linspace(low, high, _POINTS + 1)
    shares = np.diff(np.interp(at, edges, below))
    return [float(share) for share in shares / (at[1] - at[0])]


def tensors_section(tensors: Sequence[TensorReport]) -> Html:
    """Every tensor with its figures; sorts by any, and can be searched."""
    shown = tensors[:_MOST_ROWS]
    columns = [
        Column("tensor"),
        Column("shape"),
        Column("type"),
        Column("size", True),
        Column("values"),
        *(
            Column(title, True)
            for title in ("least", "most", "mean", "std", "rms", "kurtosis", "zeros")
        ),
    ]
    search = tag(
        "input",
        attributes={
            "type": "search",
            "placeholder": "blk.0 attn …",
            "aria-label": "find a tensor",
            "data-of": "tensors-table",
        },
    )
    note = None
    if len(tensors) > len(shown):
        note = tag(
            "p", f"The first {len(shown):,} of {len(tensors):,}; `--json` has all.", of="note"
        )
    rows = [_tensor_row(tensor) for tensor in shown]
    return join((search, note, table(columns, rows, anchor="tensors-table", long=True)))


def _tensor_row(tensor: TensorReport) -> tuple[object, ...]:
    stats = tensor.stats
    start: tuple[object, ...] = (
        tag("span", tensor.name, of="mono"),
        " × ".join(map(str, tensor.shape)),
        tensor.type,
        (size_of(tensor.n_bytes), tensor.n_bytes),
    )
    if stats is None:
        return (*start, *([""] * 8))
    figures = (
        stats.minimum,
        stats.maximum,
        stats.mean,
        stats.std,
        stats.rms,
        stats.kurtosis,
    )
    return (
        *start,
        (curve(stats.histogram.counts, 84, 22), stats.std),
        *((f"{figure:.3g}", figure) for figure in figures),
        (f"{100 * stats.zeros:.1f} %", stats.zeros),
    )
