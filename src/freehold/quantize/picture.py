"""A page with the curve that a recipe was chosen on: size against expected loss.

Room: quantize. One file that needs nothing else; must not know terminals.
"""

from __future__ import annotations

import math
from html import escape
from typing import NamedTuple

from freehold.quantize.fitting import Fitted

__all__ = ["curve_page"]

_WIDE, _HIGH, _LEFT, _BOTTOM = 760, 420, 70, 50
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c2430; background: #fff; }
svg { width: 100%; height: auto; } table { border-collapse: collapse; }
td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; } td + td { text-align: right; }
.axis { stroke: #c5ccd6; } .line { fill: none; stroke: #2f6fb3; stroke-width: 2; }
.named { fill: #8a95a5; } .chosen { fill: #c2410c; } text { font-size: 12px; fill: #4a5566; }
"""


class _Scale(NamedTuple):
    """From bytes and nats to the picture; losses by their logarithm."""

    sizes: tuple[float, float]
    losses: tuple[float, float]

    def at(self, size: float, loss: float) -> tuple[float, float]:
        low, high = self.sizes
        x = _LEFT + (size - low) / max(high - low, 1) * (_WIDE - _LEFT - 90)
        bottom, top = (math.log10(edge) for edge in self.losses)
        share = (math.log10(max(loss, self.losses[0])) - bottom) / max(top - bottom, 1e-9)
        return x, _HIGH - _BOTTOM - share * (_HIGH - _BOTTOM - 20)


def curve_page(fitted: Fitted) -> str:
    """The page as HTML."""
    outcome = fitted.outcome
    title = f"{outcome.path.stem}: size against loss"
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{fitted.point.types[name].name}</td>"
        f"<td>{loss:.5f}</td></tr>"
        for name, loss in fitted.losses()
    )
    loss = outcome.loss
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>"
        f"<p>Chosen: {outcome.size_bytes / 1e6:.1f} MB, measured mean KL {loss.mean_kl:.4f} on "
        f"{loss.tokens} tokens of {escape(outcome.texts.held_out_name)}. The line is what the best "
        f"recipe of each size is expected to lose, without error feedback.</p>{_picture(fitted)}"
        f"<h2>Types by group</h2><table><tr><th>group<th>type<th>expected KL</tr>{rows}</table>"
        "</html>\n"
    )


def _picture(fitted: Fitted) -> str:
    other = fitted.other_bytes
    line = [(point.size_bytes + other, point.expected_kl) for point in fitted.curve.points]
    dots = [(each.size_bytes, each.expected_kl, each.name) for each in fitted.named]
    chosen = (fitted.outcome.size_bytes, fitted.outcome.loss.mean_kl)
    every = [*line, *((size, loss) for size, loss, _ in dots), chosen]
    losses = [max(loss, 1e-6) for _, loss in every]
    scale = _Scale(
        (min(size for size, _ in every), max(size for size, _ in every)),
        (min(losses) / 1.3, max(losses) * 1.3),
    )
    parts = [_axes(scale)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (scale.at(*each) for each in line))
    parts.append(f'<polyline class="line" points="{path}"/>')
    for size, loss, name in dots:
        parts.append(_dot(scale.at(size, loss), "named", name))
    parts.append(_dot(scale.at(*chosen), "chosen", "this file, measured"))
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img">{"".join(parts)}</svg>'


def _dot(at: tuple[float, float], kind: str, label: str) -> str:
    x, y = at
    return (
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
        f'<text x="{x + 8:.1f}" y="{y - 6:.1f}">{escape(label)}</text>'
    )


def _axes(scale: _Scale) -> str:
    base, right, parts = _HIGH - _BOTTOM, _WIDE - 90, []
    for step in range(6):
        size = scale.sizes[0] + step / 5 * (scale.sizes[1] - scale.sizes[0])
        x, _ = scale.at(size, scale.losses[0])
        parts.append(_label(x, base + 18, "middle", f"{size / 1e6:.0f}"))
    for loss in _ticks(*scale.losses):
        _, y = scale.at(scale.sizes[0], loss)
        parts.append(f'<path class="axis" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(_label(_LEFT - 8, y + 4, "end", f"{loss:g}"))
    parts.append(_label((right + _LEFT) / 2, base + 40, "middle", "file, MB"))
    parts.append(_label(12, 14, "start", "mean KL, nats"))
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [tick for tick in every if low <= tick <= high]


def _label(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
