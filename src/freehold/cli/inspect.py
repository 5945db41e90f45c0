"""`freehold inspect`: what is inside a model, or what differs between two.

Room: cli. Shows what the inspection room gathers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from freehold.cli.options import AsJson, Reference

__all__ = ["inspect"]


def inspect(
    ref: Reference,
    *,
    tensor: Annotated[
        str | None, typer.Option("--tensor", metavar="NAME", help="Look at this one tensor.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look inside a model.

    Parts and sizes, memory, types, tokenizer, template, statistics, and a safety scan:
    `freehold inspect starter`. Nothing of the file is run. Exit status 1 for a file that breaks its
    format.
    """
    from freehold.cli.inspect_text import print_report, print_tensor
    from freehold.cli.printing import print_json, table_console
    from freehold.config import resolve_settings
    from freehold.inspection import inspect_model, plain
    from freehold.library import resolve

    settings = resolve_settings()
    path = resolve(ref, settings=settings)
    with progress_bar() as progress:
        report = inspect_model(path, name=ref, home=settings.home, only=tensor, progress=progress)
    if as_json:
        print_json(plain(report))
    elif tensor is not None:
        print_tensor(table_console(), report, tensor)
    else:
        print_report(table_console(), report)
    if report.refused:
        raise typer.Exit(1)


_LABELS = {"verify": "hashing", "measure": "measuring"}


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar with bytes, rate and time left on stderr; nothing where nobody can see a bar."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    seen = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not seen) as bars:

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(_LABELS.get(phase, phase), total=total or None)
            bars.update(tasks[phase], completed=done, total=total or None)

        yield show
