"""`freehold batch`: answer a file of requests on this machine, without a server.

Room: cli. Flags, a bar and a line at the end; the work is the server's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson, Context, Threads

if TYPE_CHECKING:
    from freehold.server.batches.offline import Totals

__all__ = ["batch"]

_Source = Annotated[
    Path, typer.Argument(metavar="FILE", help="JSON lines as OpenAI's batches have them.")
]
_Model = Annotated[
    str | None,
    typer.Option("--model", metavar="REF", help="A model beside those of the store, as a file."),
]
_Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="Answers; FILE.output.jsonl if unset."),
]
_Errors = Annotated[
    Path | None,
    typer.Option("--errors", metavar="FILE", help="Refusals; FILE.errors.jsonl if unset."),
]


def batch(
    source: _Source,
    *,
    model: _Model = None,
    output: _Output = None,
    errors: _Errors = None,
    threads: Threads = None,
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """Answer every request of a file, each once.

    The same command again goes on where it was broken off, whatever broke it off: lines that have
    an answer are left alone. Exits with 1 when requests were refused.

    Example:

    freehold batch requests.jsonl --output answers.jsonl
    """
    import time

    from freehold.cli.printing import print_json
    from freehold.cli.progress import progress_bar
    from freehold.config import resolve_settings
    from freehold.errors import BadSetting
    from freehold.server.batches.offline import answer_file

    settings = resolve_settings({"threads": threads, "context_tokens": context})
    if not source.is_file():
        raise BadSetting("there is no such file", value=str(source), expected="a file of requests")
    out = output or source.with_name(f"{source.name}.output.jsonl")
    bad = errors or source.with_name(f"{source.name}.errors.jsonl")
    began = time.monotonic()
    with progress_bar({"batch": "answering"}, counts=True) as progress:
        totals = answer_file(
            source,
            out,
            bad,
            settings=settings,
            refs=() if model is None else (model,),
            on_line=lambda now: progress(
                "batch", now.before + now.completed + now.failed, now.total
            ),
        )
    seconds = time.monotonic() - began
    if as_json:
        print_json({**vars(totals), "seconds": round(seconds, 3), "output": str(out)})
    else:
        _say(totals, seconds, out, bad)
    if totals.failed:
        raise typer.Exit(1)


def _say(totals: Totals, seconds: float, out: Path, bad: Path) -> None:
    import sys

    from freehold.cli.printing import safe_text

    words = f"{totals.completed} answered in {seconds:.1f} s"
    if totals.before:
        words += f", {totals.before} were before"
    if totals.completed:
        words += f"; {totals.tokens[0]} tokens read, {totals.tokens[2]} written: {out}"
    if totals.failed:
        words += f"\n{totals.failed} refused: {bad}"
    sys.stderr.write(safe_text(words) + "\n")
