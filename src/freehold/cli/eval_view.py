"""How an evaluation looks: tables, JSON, a page, and a line for each item.

Room: cli. Words and places only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.cli.printing import print_json, safe_text, say, table_console

if TYPE_CHECKING:
    from rich.table import Table

    from freehold.evals import Comparison, Result
    from freehold.evals.judging import Preference
    from freehold.evals.page import Report

__all__ = ["print_sets", "show_report"]


def show_report(report: Report, *, html: Path | None, items: Path | None, as_json: bool) -> None:
    """Writes the page and the items where they are wanted, then the figures to stdout."""
    if html is not None:
        from freehold.evals.page import report_page

        html.write_text(report_page(report), "utf-8")
    if items is not None:
        _write_items(report, items)
    if as_json:
        print_json(_record(report))
        return
    for task in dict.fromkeys(result.task for result in report.results):
        _print_task(task, report)
    for preference in report.preferences:
        _print_preference(preference)
    for path in (html, items):
        if path is not None:
            say(f"wrote {path}")


def _record(report: Report) -> dict[str, Any]:
    """The report as JSON has it, without the items."""
    return {
        "results": [result.as_dict() for result in report.results],
        "comparisons": [{"task": task, **each.as_dict()} for task, each in report.comparisons],
        "preferences": [each.as_dict() for each in report.preferences],
    }


def _write_items(report: Report, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for result in report.results:
            for item in result.items:
                line = {"task": result.task, "model": result.target.name, **item.as_dict()}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _print_task(task: str, report: Report) -> None:
    from freehold.evals.words import refusal_words

    console = table_console()
    results = [result for result in report.results if result.task == task]
    data = results[0].data
    console.print(safe_text(f"{task}: {results[0].total} items of {data.name} ({data.licence})"))
    console.print(_figures(results))
    compared = [each for name, each in report.comparisons if name == task]
    for each in compared:
        console.print(safe_text(f"  {_compared(each)}"))
    for result in results:
        if words := refusal_words(result):
            console.print(safe_text(f"  {words}"))
    if results[0].estimate.few:
        console.print(f"  {results[0].estimate.n} items are few: these figures say little")
    console.print()


def _figures(results: list[Result]) -> Table:
    from rich.table import Table

    from freehold.evals.words import figure

    first = results[0]
    metrics = sorted(first.metrics, key=lambda metric: metric.name != first.main)
    table = Table(*("  model", *(m.name for m in metrics)), box=None, pad_edge=False)
    for result in results:
        cells = [f"  {result.target.name}", *(figure(m, result.estimates[m.name]) for m in metrics)]
        table.add_row(*map(safe_text, cells))
    return table


def _compared(comparison: Comparison) -> str:
    from freehold.evals.words import difference_words, p_words

    found = comparison.difference
    if not found.n:
        return f"{comparison.second} beside {comparison.first}: nothing to compare"
    better, worse = found.wins, found.losses
    if comparison.metric.better == "low":
        better, worse = worse, better
    return (
        f"{comparison.second} beside {comparison.first}: {difference_words(comparison)}, "
        f"{p_words(found.p)}: {comparison.verdict} ({better} items better, {worse} worse)"
    )


def _print_preference(preference: Preference) -> None:
    from freehold.evals.items import Metric
    from freehold.evals.words import figure, p_words

    console, share = table_console(), Metric(name="rate")
    say_ = (
        f"{preference.judge} prefers {preference.second} to {preference.first}: "
        f"{figure(share, preference.rate)}, {p_words(preference.p)}: {preference.verdict}\n"
        f"  won {preference.wins}, lost {preference.losses}, tied {preference.ties}, of which "
        f"{preference.flips} turned with the order\n"
        f"  what came first was preferred {figure(share, preference.first_place)}"
        + (": this judge is biased" if preference.biased else "")
    )
    console.print(safe_text(say_))


def print_sets(*, as_json: bool) -> None:
    """The known data sets: what each is, its terms, and how to have it."""
    from rich.table import Table

    from freehold.evals.sets import known_sets

    sets = known_sets()
    if as_json:
        rows = [{**vars(one), "here": one.is_here, "install": one.install} for one in sets]
        print_json({"sets": rows})
        return
    console = table_console()
    table = Table("name", "what it asks", "terms of the data", "here", box=None, pad_edge=False)
    for one in sets:
        table.add_row(one.name, one.about, one.licence, "yes" if one.is_here else "no")
    console.print(table)
    console.print("\nreasoning-gym:NAME makes items from a seed (Apache-2.0).")
    for install in dict.fromkeys(one.install for one in sets if not one.is_here):
        console.print(f"To have what is not here: {install}")
