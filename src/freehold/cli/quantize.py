"""`freehold quantize`: a smaller file of a model, and what it costs in quality.

Room: cli. Asks, shows progress, and shows the result; how it is done is the room quantize's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.options import AsJson, Reference, Threads

__all__ = ["quantize"]


def quantize(
    ref: Reference,
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="TYPE",
            help="Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_K_S, Q4_0, Q3_K_M, Q2_K or MXFP4.",
        ),
    ],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The new file; named after both if unset.")
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option("--calibration", metavar="FILE", help="Text to fit to; may be repeated."),
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option("--heldout", metavar="FILE", help="Text to judge by; else the first's end."),
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", min=64, help="How many tokens to fit to, at most.")
    ] = 8192,
    held_out_tokens: Annotated[
        int, typer.Option("--heldout-tokens", min=64, help="How many tokens judge, at most.")
    ] = 2048,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="feedback passes errors on, importance weighs columns, weights reads no text.",
        ),
    ] = "feedback",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Write a model in fewer bits, and measure what that loses.

    The new file is standard GGUF. Its loss against the source, on text it was not fitted to,
    stands in its metadata and in the record.

    Example: freehold quantize starter Q4_0 --calibration notes.txt --output small.gguf
    """
    from freehold.cli.printing import print_json
    from freehold.cli.quantized import outcome_record, print_outcome, progress_bars
    from freehold.config import resolve_settings
    from freehold.local.quantizing import Wanted
    from freehold.local.quantizing import quantize as write_smaller
    from freehold.quantize import TextChoice

    settings = resolve_settings({"threads": threads})
    _use_threads(settings.threads)
    texts = TextChoice(
        calibration=tuple(calibration or ()),
        held_out=held_out,
        calibration_tokens=tokens,
        held_out_tokens=held_out_tokens,
    )
    wanted = Wanted(recipe=recipe, output=output, replace=force, method=method, texts=texts)
    with progress_bars() as progress:
        outcome = write_smaller(ref, wanted, settings=settings, progress=progress)
    if as_json:
        print_json(outcome_record(outcome))
    else:
        print_outcome(outcome)


def _use_threads(count: int | None) -> None:
    from freehold import ops

    if count is not None:
        ops.set_threads(count)
