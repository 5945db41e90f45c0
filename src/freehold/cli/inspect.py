"""`freehold inspect`: what is inside a model, or what differs between two.

Room: cli. Shows what the inspection room gathers.
"""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import AsJson, Reference

__all__ = ["inspect"]

_LABELS = {"verify": "hashing", "measure": "measuring"}


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
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.inspection import inspect_model, plain
    from freehold.library import resolve

    settings = resolve_settings()
    path = resolve(ref, settings=settings)
    with progress_bar(_LABELS) as progress:
        report = inspect_model(path, name=ref, home=settings.home, only=tensor, progress=progress)
    if as_json:
        print_json(plain(report))
    elif tensor is not None:
        print_tensor(table_console(), report, tensor)
    else:
        print_report(table_console(), report)
    if report.refused:
        raise typer.Exit(1)
