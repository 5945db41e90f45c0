"""Plots as inline SVG: bars, histograms, heat maps. Colours are the page's own variables.

Room: inspection. Knows numbers and labels; must not know reports.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from freehold.inspection.page.markup import Html, join, tag

__all__ = ["Cell", "curve", "heat_colour", "heat_map", "lines", "matrix", "scale_of", "stacked_bar"]

_CELL = 20
_LABEL = 132


@dataclass(frozen=True)
class Cell:
    """One field of a heat map: how warm it is, 0 to 1, or a class, and what it says when asked."""

    warmth: float | None
    says: str
    kind: str = ""
    label: str = ""


def _svg(width: float, height: float, *inner: object, of: str = "", label: str = "") -> Html:
    """A drawing that fits its place."""
    return tag(
        "svg",
        *inner,
        of=of,
        attributes={
            "viewBox": f"0 0 {width:g} {height:g}",
            "role": "img",
            "aria-label": label or None,
            "style": f"--w:{width:g}",
        },
    )


def heat_colour(warmth: float) -> str:
    """The page's colour between cold and hot."""
    share = round(100 * min(1.0, max(0.0, warmth)))
    return f"fill:color-mix(in oklab,var(--cold),var(--hot) {share}%)"


def scale_of(values: Sequence[float], *, logarithmic: bool) -> Callable[[float], float]:
    """A map of these values to 0 to 1, by size or by its logarithm."""
    known = [value for value in values if math.isfinite(value)]
    if logarithmic:
        least = min((value for value in known if value > 0), default=1.0)
        low, high = math.log(least), math.log(max(max(known, default=1.0), least))
        return lambda value: (
            0.0 if value <= least else (math.log(value) - low) / ((high - low) or 1.0)
        )
    low, high = min(known, default=0.0), max(known, default=1.0)
    return lambda value: (value - low) / ((high - low) or 1.0)


def heat_map(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[Cell]]) -> Html:
    """Rows with their names at the left, columns numbered below."""
    width, height = _LABEL + _CELL * len(columns) + 4, _CELL * len(rows) + 22
    drawn: list[Html] = []
    for y, (name, row) in enumerate(zip(rows, cells, strict=True)):
        middle = y * _CELL + _CELL / 2
        drawn.append(
            tag(
                "text",
                name,
                of="axis right",
                attributes={"x": _LABEL - 8, "y": f"{middle:g}", "dy": "0.35em"},
            )
        )
        drawn += [_field(x, y, cell) for x, cell in enumerate(row) if cell.says]
    step = max(1, math.ceil(len(columns) / 16))
    drawn += [
        tag(
            "text",
            column,
            of="axis middle",
            attributes={"x": _LABEL + x * _CELL + _CELL // 2, "y": len(rows) * _CELL + 15},
        )
        for x, column in enumerate(columns)
        if x % step == 0
    ]
    return tag("div", _svg(width, height, *drawn, of="heat"), of="wide")


def _field(x: int, y: int, cell: Cell) -> Html:
    colour = None if cell.warmth is None else heat_colour(cell.warmth)
    return tag(
        "rect",
        tag("title", cell.says),
        of=cell.kind,
        attributes={
            "x": _LABEL + x * _CELL + 1,
            "y": y * _CELL + 1,
            "width": _CELL - 2,
            "height": _CELL - 2,
            "rx": 3,
            "style": colour,
        },
    )


def matrix(values: Sequence[Sequence[float]], says: Callable[[int, int], str], cell: int) -> Html:
    """A square of fields without labels, as attention is shown."""
    size = cell * len(values)
    drawn = [
        tag(
            "rect",
            tag("title", says(y, x)),
            attributes={
                "x": x * cell,
                "y": y * cell,
                "width": cell - 0.5,
                "height": cell - 0.5,
                "style": heat_colour(math.sqrt(value)),
            },
        )
        for y, row in enumerate(values)
        for x, value in enumerate(row)
        if x <= y
    ]
    return _svg(size, size, *drawn, of="square")


def stacked_bar(parts: Sequence[tuple[str, float, str]], *, height: int = 26) -> Html:
    """Shares of a whole in a row: (what it says, size, class)."""
    whole = sum(size for _, size, _ in parts) or 1.0
    drawn, at = [], 0.0
    for says, size, kind in parts:
        wide = 1000 * size / whole
        drawn.append(
            tag(
                "rect",
                tag("title", says),
                of=kind,
                attributes={
                    "x": f"{at:.2f}",
                    "y": 0,
                    "width": f"{max(wide - 1.5, 0.5):.2f}",
                    "height": height,
                },
            )
        )
        at += wide
    return tag(
        "svg",
        *drawn,
        of="bar",
        attributes={
            "viewBox": f"0 0 1000 {height}",
            "preserveAspectRatio": "none",
            "role": "img",
            "style": f"height:{height}px",
        },
    )


def curve(counts: Sequence[int], width: int, height: int) -> Html:
    """A histogram as a filled line."""
    most = max(counts) or 1
    step = width / len(counts)
    points = [
        f"{(i + 0.5) * step:.1f},{height - 1 - (height - 3) * n / most:.1f}"
        for i, n in enumerate(counts)
    ]
    path = f"M0,{height} L{' L'.join(points)} L{width},{height} Z"
    return _svg(width, height, tag("path", attributes={"d": path}), of="curve")


def lines(
    title: str,
    curves: Sequence[tuple[float, Sequence[float], str]],
    low: float,
    high: float,
) -> Html:
    """Several distributions over one range: (warmth of the line, densities, what it says)."""
    width, height = 260, 118
    most = max((max(values) for _, values, _ in curves), default=1.0) or 1.0
    drawn: list[Html] = []
    for warmth, values, says in curves:
        step = width / max(len(values) - 1, 1)
        points = " ".join(
            f"{i * step:.1f},{height - 14 - (height - 22) * value / most:.1f}"
            for i, value in enumerate(values)
        )
        style = heat_colour(warmth).replace("fill:", "stroke:").replace("--cold", "--k0")
        drawn.append(
            tag(
                "polyline",
                tag("title", says),
                attributes={"points": points, "style": style},
            )
        )
    if low < 0 < high:
        zero = f"{width * -low / (high - low):.1f}"
        drawn.append(
            tag(
                "line",
                of="zero",
                attributes={"x1": zero, "x2": zero, "y1": 4, "y2": height - 14},
            )
        )
    for x, value, kind in ((0, low, "axis"), (width, high, "axis right")):
        drawn.append(tag("text", f"{value:.2g}", of=kind, attributes={"x": x, "y": height - 2}))
    return tag("figure", tag("figcaption", title), _svg(width, height, join(drawn), of="lines"))
