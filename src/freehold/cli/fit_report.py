"""What `freehold fit` found, as tables and as JSON.

Room: cli. Prints; must not know how anything was predicted.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import typer

from freehold.cli.printing import print_json, say, table_console

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.fit import Fit, Measured, Month, Prices, Question, Traffic

__all__ = ["print_list", "print_model", "print_month"]

_VERDICTS = {"allow": "allowed", "accept": "to accept", "deny": "denied"}
_NONE = "–"


def print_list(
    measured: Measured,
    question: Question,
    settings: Settings,
    filters: tuple[str | None, bool],
    *,
    as_json: bool,
) -> None:
    """One line for each known model that fits and runs; with the second filter, for all."""
    from freehold.fit import list_fits
    from freehold.library.known import known_version
    from freehold.library.known.model import TASKS

    task, everything = filters
    if task is not None and task not in TASKS:
        raise typer.BadParameter(f"one of {', '.join(TASKS)}", param_hint="--task")
    rows = list_fits(question, settings=settings, task=task)
    shown = [row for row in rows if everything or (row.fits != "no" and row.carried)]
    if as_json:
        for row in shown:
            print_json(_record(row, question))
        return
    _print_machine(measured, question)
    _print_table(shown, named=True)
    left = len(rows) - len(shown)
    if left:
        say(f"{left} more do not fit or do not run here: --all shows them")
    say(f"Known models as of {known_version()}; `freehold fit REF` shows one in every type.")


def print_model(measured: Measured, question: Question, rows: list[Fit], *, as_json: bool) -> None:
    """One model, in each of its forms."""
    if as_json:
        for row in rows:
            print_json(_record(row, question))
        return
    _print_machine(measured, question)
    first = rows[0]
    size = f"{_count(first.parameters)} parameters"
    if first.sparse:
        size += f", {_count(first.active)} of them active"
    table_console().print(f"{first.name}: {size}; licence {first.licence}, {_verdict(first)}")
    if not first.carried:
        family = first.model.family if first.model else ""
        table_console().print(f"This version does not run its family ({family}).")
    _print_table(rows, named=False)
    parts = first.needs
    if parts is not None:
        where = f"Memory is for {first.context} tokens of context"
        say(f"{where}: keys and values {_gb(parts.kv + parts.states)}, buffers {_gb(parts.work)}.")


def print_month(
    measured: Measured, rows: list[Fit], traffic: Traffic, prices: Prices, *, as_json: bool
) -> None:
    """A month of the traffic on one form of a model: the first of those people take that fits."""
    from freehold.fit import month_of

    able = [row for row in rows if row.outline is not None and row.times is not None]
    if not able:
        raise typer.BadParameter("its speed here cannot be predicted", param_hint="REF")
    usual = [row for row in able if row.fits != "no" and row.form in ("Q4_K_M", "MXFP4")]
    row = (usual or [row for row in able if row.fits != "no"] or able)[0]
    assert row.outline is not None, "rows without an outline were left out"
    month = month_of(row.outline, measured.rates, traffic, prices)
    if as_json:
        record = {"model": row.name, "type": row.form, "fits": row.fits}
        print_json(record | dataclasses.asdict(month) | {"machines": month.machines})
        return
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, text in _month_rows(row, month, prices):
        table.add_row(name, text)
    table_console().print(table)


def _month_rows(row: Fit, month: Month, prices: Prices) -> list[tuple[str, str]]:
    fits = "" if row.fits == "yes" else f", which {_fits_words(row)}"
    machines = "" if month.machines == 1 else f": {month.machines} such machines"
    rows = [
        ("model", f"{row.name}, {row.form}{fits}"),
        ("a request", f"{month.request_s:.1f} s, one at a time"),
        (
            "a month",
            f"{month.requests:,.0f} requests, {_count(month.prompt_tokens)} prompt tokens, "
            f"{_count(month.answer_tokens)} answer tokens",
        ),
        ("busy", f"{month.busy_hours:,.0f} h, {100 * month.share:.1f} % of the month{machines}"),
    ]
    if month.energy_kwh is not None:
        cost = "" if month.energy_cost is None else f": {month.energy_cost:,.2f}"
        rows.append(("power", f"{month.energy_kwh:,.1f} kWh{cost}"))
    if month.machine_cost is not None:
        rows.append(("machine", f"{month.machine_cost:,.2f} over {prices.years:g} years"))
    if month.own_cost is not None:
        rows.append(("here", f"{month.own_cost:,.2f} a month"))
    if month.api_cost is not None:
        rows.append(("the service", f"{month.api_cost:,.2f} a month"))
    if month.own_cost and month.api_cost:
        ratio = month.own_cost / month.api_cost
        words = f"{1 / ratio:.1f} times cheaper" if ratio < 1 else f"{ratio:.1f} times dearer"
        rows.append(("so this machine is", words))
    return rows


def _print_machine(measured: Measured, question: Question) -> None:
    rates, gb = measured.rates, 1e9
    table_console().print(
        f"{measured.identity['processor']}, {rates.threads} threads, {rates.isa}: "
        f"{rates.bandwidth_bytes_per_s / gb:.0f} GB/s, {rates.isas[rates.isa] / gb:.0f} G int8 "
        f"products/s; {question.memory_bytes / gb:.1f} GB, {question.free_bytes / gb:.1f} GB free"
    )
    if measured.disturbed:
        say(
            f"Measured while other programs ran (load {measured.load:.1f}), so it is faster than "
            "this says: `freehold fit --measure` when it is quiet."
        )


def _print_table(rows: list[Fit], *, named: bool) -> None:
    from rich.table import Table

    first = ("model", "size") if named else ()
    table = Table(*first, "type", box=None, pad_edge=False)
    for name in ("file GB", "memory GB", "context", "up to", "prompt tok/s", "answer tok/s"):
        table.add_column(name, justify="right")
    table.add_column("fits")
    if named:
        table.add_column("licence")
    for row in rows:
        start = (row.ref, _size(row)) if named else ()
        end = (f"{row.licence}, {_verdict(row)}",) if named else ()
        table.add_row(*start, row.form, *_figures(row), _fits_words(row), *end)
    table_console().print(table)


def _figures(row: Fit) -> tuple[str, ...]:
    needs, times = row.needs, row.times
    prompt = min(512, row.context)
    return (
        f"{row.weights_bytes / 1e9:.2f}",
        _NONE if needs is None else f"{needs.total / 1e9:.2f}",
        f"{row.context}",
        f"{row.longest_context}" if row.longest_context else _NONE,
        _NONE if times is None else _rate(prompt / times.prompt_s),
        _NONE if times is None else _rate(1 / times.token_s),
    )


def _rate(per_s: float) -> str:
    return f"{per_s:.0f}" if per_s >= 100 else f"{per_s:.1f}" if per_s >= 1 else f"{per_s:.2f}"


def _fits_words(row: Fit) -> str:
    words = {"yes": "yes", "tight": "if memory is freed", "no": "no"}[row.fits]
    return words if row.carried else f"{words}; not run here"


def _verdict(row: Fit) -> str:
    return "terms unknown" if row.verdict.unknown else _VERDICTS[row.verdict.outcome]


def _size(row: Fit) -> str:
    active = f" A{_count(row.active)}" if row.sparse else ""
    return _count(row.parameters) + active


def _count(number: float) -> str:
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.0f}"


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"


def _record(row: Fit, question: Question) -> dict[str, Any]:
    prompt = min(512, row.context)
    return {
        "model": row.name,
        "ref": row.ref,
        "type": row.form,
        "parameters": row.parameters,
        "active": row.active,
        "weights_bytes": row.weights_bytes,
        "memory_bytes": None if row.needs is None else row.needs.total,
        "memory": None if row.needs is None else dataclasses.asdict(row.needs),
        "context": row.context,
        "longest_context": row.longest_context,
        "prompt_tokens_per_s": row.times and prompt / row.times.prompt_s,
        "answer_tokens_per_s": row.times and 1 / row.times.token_s,
        "fits": row.fits,
        "memory_limit_bytes": question.memory_bytes,
        "runs_here": row.carried,
        "licence": row.licence,
        "verdict": row.verdict.outcome,
        "terms_known": not row.verdict.unknown,
    }
