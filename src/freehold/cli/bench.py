"""`freehold bench`: how fast this machine runs a model.

Room: cli. Prints measurements; must not know how they are taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import options

if TYPE_CHECKING:
    from freehold.engine.measure import Measurement
    from freehold.local import Model

__all__ = ["bench"]

_COLUMNS = ("test", "prompt", "generate", "batch", "depth", "threads", "isa", "repeats")
_Counts = str  # "512" or "128,512": typer has no list type that reads like this


def bench(
    ref: options.Reference,
    *,
    prompt: Annotated[
        _Counts, typer.Option("--prompt", metavar="N", help="Prompt tokens; 0 leaves it out.")
    ] = "512",
    generate: Annotated[
        _Counts, typer.Option("--generate", metavar="M", help="Tokens to write; 0 leaves it out.")
    ] = "128",
    batch: Annotated[
        _Counts, typer.Option("--batch", metavar="B", help="Sequences at once.")
    ] = "1",
    depth: Annotated[
        _Counts, typer.Option("--depth", metavar="D", help="Tokens already in the context.")
    ] = "0",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Runs; the median counts.")] = 3,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure prefill and decode speed.

    Tokens per second, the median of the runs, summed over the batch.
    N, M, B and D also take several values: --prompt 128,512 measures each.
    """
    cases = list(
        product(
            _counts("--prompt", prompt, least=0),
            _counts("--generate", generate, least=0),
            _counts("--batch", batch, least=1),
            _counts("--depth", depth, least=0),
        )
    )
    if not any(p or m for p, m, _, _ in cases):
        raise typer.BadParameter("--prompt and --generate are both 0: nothing to measure")

    from freehold import local
    from freehold.config import resolve_settings

    settings = resolve_settings({"threads": threads})
    context_tokens = max(d + max(p, m) for p, m, _, d in cases)
    model = local.load_chat(
        ref,
        context_tokens=context_tokens,
        threads=settings.threads,
        kv_bits=settings.kv_bits,
    )
    measurements = _measurements(model, cases, repeats=repeats)
    if as_json:
        _print_lines(measurements)
    else:
        _print_table(model.name, measurements)


def _counts(flag: str, text: str, *, least: int) -> list[int]:
    counts = []
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) < least:
            raise typer.BadParameter(
                f"{part!r} is not a whole number of at least {least}", param_hint=flag
            )
        counts.append(int(part))
    return counts


def _measurements(
    model: Model, cases: list[tuple[int, int, int, int]], *, repeats: int
) -> Iterator[Measurement]:
    from freehold.engine.measure import measure

    for prompt, generate, batch, depth in cases:
        yield from measure(
            model, prompt=prompt, generate=generate, batch=batch, depth=depth, repeats=repeats
        )


def _print_lines(measurements: Iterator[Measurement]) -> None:
    from freehold.cli.printing import print_json

    for measurement in measurements:
        print_json(dataclasses.asdict(measurement))


def _print_table(name: str, measurements: Iterator[Measurement]) -> None:
    from rich.console import Console
    from rich.table import Table

    from freehold.cli.printing import table_console

    table = Table(*_COLUMNS, title=name, title_justify="left", box=None, pad_edge=False)
    table.add_column("tok/s", justify="right", style="bold")
    with Console(stderr=True).status("measuring"):
        for measurement in measurements:
            row = [str(getattr(measurement, column)) for column in _COLUMNS]
            table.add_row(*row, f"{measurement.tokens_per_s:.1f}")
    table_console().print(table)
