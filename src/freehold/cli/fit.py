"""`freehold fit`: which models this machine can run, how fast, under which terms, at what cost.

Room: cli. Prints predictions; they are made in the room of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import fit_options as given
from freehold.cli.options import AsJson, Threads

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.fit import Fit, Measured, Question

__all__ = ["fit"]


def fit(
    ref: Annotated[
        str | None,
        typer.Argument(metavar="REF", help="A path, org/name[:type] or short name; none: a list."),
    ] = None,
    *,
    task: given.Task = None,
    commercial: given.Commercial = False,
    context: given.Context = None,
    memory: given.Memory = None,
    everything: given.Everything = False,
    again: given.Measure = False,
    cost: given.Cost = False,
    requests_per_day: given.RequestsPerDay = None,
    prompt_tokens: given.PromptTokens = None,
    answer_tokens: given.AnswerTokens = None,
    watts: given.Watts = None,
    idle_watts: given.IdleWatts = 0.0,
    price_per_kwh: given.PricePerKwh = None,
    machine_price: given.MachinePrice = None,
    years: given.Years = 4.0,
    api_price_in: given.ApiPriceIn = None,
    api_price_out: given.ApiPriceOut = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Say which models fit this machine and how fast they would run.

    The machine's kernels are measured once, in some fifteen seconds. Speeds are of a prompt of 512
    tokens and the answer after it. Example: freehold fit --task code --context 16384
    """
    from freehold.cli import fit_report
    from freehold.config import resolve_settings
    from freehold.fit import Prices

    settings = resolve_settings({"threads": threads})
    traffic = given.traffic_of(cost, ref, requests_per_day, prompt_tokens, answer_tokens)
    prices = Prices(
        watts=watts,
        idle_watts=idle_watts,
        per_kwh=price_per_kwh,
        machine=machine_price,
        years=years,
        api_in=api_price_in,
        api_out=api_price_out,
    )
    measured = _measured(settings, again=again)
    question = _question(settings, measured, (context, memory, commercial))
    if ref is None:
        fit_report.print_list(measured, question, settings, (task, everything), as_json=as_json)
        return
    rows = _rows(ref, question, settings)
    if traffic is None:
        fit_report.print_model(measured, question, rows, as_json=as_json)
    else:
        fit_report.print_month(measured, rows, traffic, prices, as_json=as_json)


def _measured(settings: Settings, *, again: bool) -> Measured:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from freehold import ops
    from freehold.fit import machine_rates

    if settings.threads is not None:
        ops.set_threads(settings.threads)
    columns = (TextColumn("measuring this machine"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        return machine_rates(settings.home, again=again, progress=tell)


def _question(
    settings: Settings, measured: Measured, asked: tuple[int | None, str | None, bool]
) -> Question:
    from freehold.config import parse_size
    from freehold.engine.machine import read_memory
    from freehold.fit import Question

    context, memory, commercial = asked
    now = read_memory()
    usable, free = now.usable_bytes, min(now.available_bytes, now.usable_bytes)
    if memory is not None:
        try:
            usable = free = parse_size(memory)
        except ValueError as error:
            raise typer.BadParameter(f"expected {error}", param_hint="--memory") from error
    return Question(
        rates=measured.rates,
        memory_bytes=usable,
        free_bytes=free,
        context=context,
        kv_bits=settings.kv_bits,
        commercial=commercial,
    )


def _rows(ref: str, question: Question, settings: Settings) -> list[Fit]:
    from pathlib import Path

    from freehold.fit import fit_of_file, fits_of_model, subject_of

    subject = subject_of(ref, settings=settings)
    if isinstance(subject, Path):
        return [fit_of_file(subject, ref, question, settings=settings)]
    model, form = subject
    return fits_of_model(model, question, settings=settings, form=form)
