"""Results as one page that needs nothing else: figures with their intervals, and differences.

Room: evals. Shows what results say; must not compute any, nor know terminals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from freehold.evals.items import Metric
from freehold.evals.judging import Preference
from freehold.evals.results import Comparison, Result
from freehold.evals.statistics import Estimate
from freehold.evals.words import difference_words, figure, p_words, refusal_words
from freehold.inspection.page.markup import Html, join, tag
from freehold.inspection.page.page import Column, Section, document, table

__all__ = ["Report", "report_page"]

_WIDE, _LABEL, _ROW, _RIGHT = 760, 230, 34, 96
_FONT = "font-size:13px;fill:var(--ink)"
_SMALL = "font-size:11px;fill:var(--soft)"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a page shows: results by task, the first model of each the one others stand beside."""

    title: str
    results: Sequence[Result]
    comparisons: Sequence[tuple[str, Comparison]] = ()
    preferences: Sequence[Preference] = ()


def report_page(report: Report) -> str:
    """The page as HTML."""
    tasks = dict.fromkeys(result.task for result in report.results)
    models = dict.fromkeys(result.target.name for result in report.results)
    head = join(
        (
            tag("h1", report.title),
            tag("p", f"{_count(len(models), 'model')}, {_count(len(tasks), 'task')}.", of="lead"),
        )
    )
    sections = [_task_section(number, name, report) for number, name in enumerate(tasks)]
    if report.preferences:
        sections.append(Section("judged", "Judged side by side", _preferences(report.preferences)))
    sections.append(Section("how", "How to read this", _how()))
    return document(report.title, head, sections, "Made by freehold eval on this machine.")


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def _task_section(number: int, name: str, report: Report) -> Section:
    results = [result for result in report.results if result.task == name]
    first = results[0]
    metric = first.metric(first.main)
    compared = [each for task, each in report.comparisons if task == name]
    parts: list[Html | None] = [
        tag(
            "p",
            f"{metric.name}: {metric.about or metric.kind}. {_count(first.total, 'item')} of "
            f"{first.data.name} ({first.data.licence}).",
        ),
        _intervals(metric, [(r.target.name, r.estimate) for r in results]),
        _notes(results),
        _figures(results),
        tag("h3", "Differences on the same items") if compared else None,
        _differences(metric, compared) if compared else None,
        _compared(compared) if compared else None,
        _groups(results),
    ]
    return Section(f"task{number}", name, join(parts))


def _notes(results: Sequence[Result]) -> Html | None:
    said = [tag("p", words, of="note") for words in map(refusal_words, results) if words]
    if any(result.estimate.few for result in results):
        said.append(tag("p", "Few items: these figures say little.", of="note"))
    return join(said) if said else None


def _figures(results: Sequence[Result]) -> Html:
    metrics = results[0].metrics
    columns = [
        Column("model"),
        *(Column(m.name, numbers=True) for m in metrics),
        Column("items", numbers=True),
    ]
    rows = [
        [
            result.target.name,
            *(
                (figure(m, result.estimates[m.name]), result.estimates[m.name].value)
                for m in metrics
            ),
            len(result.items),
        ]
        for result in results
    ]
    return table(columns, rows)


def _cell(metric: Metric, estimate: Estimate) -> tuple[str, float]:
    """A figure, and what it is sorted by."""
    return figure(metric, estimate), estimate.value


def _compared(comparisons: Sequence[Comparison]) -> Html:
    columns = [Column(name) for name in ("model", "beside", "difference", "p", "said")]
    columns += [Column(name, numbers=True) for name in ("better on", "worse on", "alike on")]
    rows = [
        [
            each.second,
            each.first,
            difference_words(each),
            p_words(each.difference.p),
            each.verdict,
            each.difference.wins if each.metric.better == "high" else each.difference.losses,
            each.difference.losses if each.metric.better == "high" else each.difference.wins,
            each.difference.ties,
        ]
        for each in comparisons
    ]
    return table(columns, rows)


def _groups(results: Sequence[Result]) -> Html | None:
    every = [(result, result.groups()) for result in results]
    names = dict.fromkeys(name for _, groups in every for name in groups)
    if not names:
        return None
    metric = results[0].metric(results[0].main)
    columns = [Column("group"), *(Column(r.target.name, numbers=True) for r in results)]
    rows = [[name, *(_cell(metric, groups[name]) for _, groups in every)] for name in names]
    return join((tag("h3", "By group"), table(columns, rows, long=True)))


def _preferences(preferences: Sequence[Preference]) -> Html:
    share = Metric(name="rate")
    columns = [Column(name) for name in ("model", "beside", "judge", "wins or half of ties", "p")]
    columns += [Column(name, numbers=True) for name in ("won", "lost", "tied", "turned with order")]
    columns.append(Column("preferred what came first"))
    rows = [
        [
            each.second,
            each.first,
            each.judge,
            figure(share, each.rate),
            p_words(each.p),
            each.wins,
            each.losses,
            each.ties,
            each.flips,
            figure(share, each.first_place) + (": biased" if each.biased else ""),
        ]
        for each in preferences
    ]
    return table(columns, rows)


def _how() -> Html:
    return join(
        tag("p", words)
        for words in (
            "A dot is what was measured, its line the 95 % interval: where the figure would likely "
            "lie if other items of the same kind had been asked. Shares have Wilson's interval, "
            "others the bootstrap's over items.",
            "Differences are of the same items, pair by pair, which tells more than two intervals "
            "side by side. Right and wrong are compared by McNemar's exact test. Below p = 0.05 a "
            "difference is called one; of many comparisons some fall below it by chance.",
            "Items that a model could not be asked, as one longer than its context, count as wrong "
            "and are told.",
        )
    )


@dataclass(frozen=True)
class _Axis:
    """From a figure to its place."""

    low: float
    high: float

    def x(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return _LABEL + min(1.0, max(0.0, share)) * (_WIDE - _LABEL - _RIGHT)


def _intervals(metric: Metric, rows: Sequence[tuple[str, Estimate]]) -> Html:
    known = [e for _, e in rows if math.isfinite(e.value)]
    if metric.kind == "perplexity":
        low = min((e.low for e in known), default=0.0)
        high = max((e.high for e in known), default=1.0)
        axis = _Axis(low - (high - low) * 0.1, high + (high - low) * 0.1)
    else:
        axis = _Axis(0.0, 1.0)
    drawn = [
        _row(axis, y, name, (e.value, e.low, e.high), figure(metric, e, interval=False))
        for y, (name, e) in enumerate(rows)
    ]
    return _drawing(axis, drawn, f"{metric.name} with 95 % intervals")


def _differences(metric: Metric, comparisons: Sequence[Comparison]) -> Html:
    found = [each.difference for each in comparisons]
    most = max((abs(edge) for each in found for edge in (each.low, each.high)), default=0.0)
    axis = _Axis(-1.1 * (most or 0.1), 1.1 * (most or 0.1))
    drawn = [
        _row(axis, y, each.second, (d.value, d.low, d.high), f"{d.value:+.3f}")
        for y, (each, d) in enumerate(zip(comparisons, found, strict=True))
    ]
    zero = _line(axis.x(0), 0, axis.x(0), _ROW * len(drawn), "stroke:var(--soft)")
    return _drawing(axis, [zero, *drawn], f"{metric.name}: less that of {comparisons[0].first}")


def _row(axis: _Axis, y: int, name: str, values: tuple[float, float, float], says: str) -> Html:
    middle = y * _ROW + _ROW / 2
    value, low, high = values
    label = _text(_LABEL - 14, middle, name if len(name) < 30 else f"{name[:28]}…", "end", _FONT)
    if not math.isfinite(value):
        return join((label, _text(_LABEL, middle, "nothing measured", "start", _SMALL)))
    colour = f"stroke:var(--k{min(y, 7)})"
    spot = tag(
        "circle",
        tag("title", f"{name}: {says}, {low:.3f} to {high:.3f}"),
        attributes={
            "cx": f"{axis.x(value):.1f}",
            "cy": middle,
            "r": 5.5,
            "style": f"fill:var(--k{min(y, 7)})",
        },
    )
    return join(
        (
            label,
            _line(axis.x(low), middle, axis.x(high), middle, f"{colour};stroke-width:3"),
            _line(axis.x(low), middle - 6, axis.x(low), middle + 6, colour),
            _line(axis.x(high), middle - 6, axis.x(high), middle + 6, colour),
            spot,
            _text(_WIDE - _RIGHT + 14, middle, says, "start", _FONT),
        )
    )


def _drawing(axis: _Axis, rows: Sequence[Html], label: str) -> Html:
    height = _ROW * sum(1 for row in rows if "<circle" in row or "<text" in row)
    ticks = [axis.low + (axis.high - axis.low) * i / 4 for i in range(5)]
    grid = [
        join(
            (
                _line(axis.x(tick), 0, axis.x(tick), height, "stroke:var(--line)"),
                _text(axis.x(tick), height + 14, f"{tick:.3g}", "middle", _SMALL),
            )
        )
        for tick in ticks
    ]
    drawing = tag(
        "svg",
        *grid,
        *rows,
        attributes={
            "viewBox": f"0 0 {_WIDE} {height + 24}",
            "role": "img",
            "aria-label": label,
            "style": f"width:100%;max-width:{_WIDE}px;height:auto;display:block",
        },
    )
    return tag("figure", tag("figcaption", label), drawing)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Html:
    places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return tag("line", attributes={**{k: f"{v:.1f}" for k, v in places.items()}, "style": style})


def _text(x: float, y: float, words: str, anchor: str, style: str) -> Html:
    return tag(
        "text",
        words,
        attributes={
            "x": f"{x:.1f}",
            "y": f"{y:.1f}",
            "dy": "0.35em",
            "text-anchor": anchor,
            "style": style,
        },
    )
