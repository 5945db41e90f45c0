"""`freehold inspect`: what is inside a model, or what differs between two.

Room: cli. Shows what the inspection room gathers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson, Reference

if TYPE_CHECKING:
    from freehold.inspection import Comparison, Lens, Report

__all__ = ["inspect"]

_LABELS = {"verify": "hashing", "measure": "measuring", "compare": "comparing"}


def inspect(
    ref: Reference,
    ref_b: Annotated[
        str | None, typer.Argument(metavar="REF_B", help="Show what differs in this one instead.")
    ] = None,
    *,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write the report as one page with plots."),
    ] = None,
    tensor: Annotated[
        str | None, typer.Option("--tensor", metavar="NAME", help="Look at this one tensor.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="TEXT", help="Run it; show what each layer would say."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look inside a model, or compare two.

    Parts and sizes, memory, types, tokenizer, template, statistics, and a safety scan:
    `freehold inspect starter --html starter.html`. The model runs only for `--prompt`. Exit status
    1 for a file that breaks its format.
    """
    if ref_b is not None:
        _compare(ref, ref_b, html, as_json=as_json)
        return
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.inspection import inspect_model, lens_of
    from freehold.library import resolve

    settings = resolve_settings()
    path = resolve(ref, settings=settings)
    with progress_bar(_LABELS) as progress:
        report = inspect_model(path, name=ref, home=settings.home, only=tensor, progress=progress)
    lens = None if prompt is None or report.refused else lens_of(path, prompt)
    _show(report, lens, html, tensor, as_json=as_json)
    if report.refused:
        raise typer.Exit(1)


def _show(
    report: Report, lens: Lens | None, html: Path | None, tensor: str | None, *, as_json: bool
) -> None:
    from freehold import __version__
    from freehold.cli.inspect_text import print_lens, print_report, print_tensor
    from freehold.cli.printing import print_json, say, table_console
    from freehold.inspection import page_of, plain

    if html is not None:
        html.write_text(page_of(report, version=__version__, lens=lens), "utf-8")
        say(f"written: {html}")
    if as_json:
        print_json({**plain(report), "lens": plain(lens)})
    elif tensor is not None and not report.refused:
        print_tensor(table_console(), report, tensor)
    elif html is None:
        print_report(table_console(), report)
        if lens is not None:
            print_lens(table_console(), lens)


def _compare(ref: str, ref_b: str, html: Path | None, *, as_json: bool) -> None:
    from freehold import __version__
    from freehold.cli.inspect_text import print_comparison
    from freehold.cli.printing import print_json, say, table_console
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.inspection import compare_models, comparison_page, plain
    from freehold.library import resolve

    settings = resolve_settings()
    before, after = (resolve(each, settings=settings) for each in (ref, ref_b))
    with progress_bar(_LABELS) as progress:
        found: Comparison = compare_models(before, after, names=(ref, ref_b), progress=progress)
    if html is not None:
        html.write_text(comparison_page(found, version=__version__), "utf-8")
        say(f"written: {html}")
    if as_json:
        print_json({**plain(found), "relative": found.relative})
    elif html is None:
        print_comparison(table_console(), found)
