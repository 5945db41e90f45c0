"""`freehold quantize`: a smaller file of a model, and what it costs in quality.

Room: cli. Asks, shows progress, and shows the result; how it is done is the room quantize's.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import AsJson, Reference, Threads

if TYPE_CHECKING:
    from types import FrameType

    from freehold.quantize import Goal

__all__ = ["quantize"]

_Type = Annotated[
    str | None,
    typer.Argument(
        metavar="[TYPE]",
        help="Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_K_S, Q4_0, Q3_K_M, Q2_K or MXFP4.",
    ),
]
_Fit = Annotated[
    str | None,
    typer.Option("--fit", metavar="SIZE", help="Instead: the best that fits, as 4GB."),
]
_MaxKl = Annotated[
    float | None,
    typer.Option("--max-kl", help="Instead: the smallest that loses at most this mean KL."),
]
_Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="The new file; named after both if unset."),
]
_Calibration = Annotated[
    list[Path] | None,
    typer.Option("--calibration", metavar="FILE", help="Text to fit to; may be repeated."),
]
_HeldOut = Annotated[
    Path | None,
    typer.Option("--heldout", metavar="FILE", help="Text to judge by; else the first's end."),
]
_Tokens = Annotated[
    int, typer.Option("--tokens", min=64, help="How many tokens to fit to, at most.")
]
_HeldOutTokens = Annotated[
    int, typer.Option("--heldout-tokens", min=64, help="How many tokens judge, at most.")
]
_Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        help="feedback passes errors on, importance weighs columns, weights reads no text.",
    ),
]
_Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Draw what --fit or --max-kl chose among."),
]
_Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]


def quantize(
    ref: Reference,
    recipe: _Type = None,
    *,
    size: _Fit = None,
    max_kl: _MaxKl = None,
    output: _Output = None,
    calibration: _Calibration = None,
    held_out: _HeldOut = None,
    tokens: _Tokens = 8192,
    held_out_tokens: _HeldOutTokens = 2048,
    method: _Method = "feedback",
    html: _Html = None,
    force: _Force = False,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Write a model in fewer bits, and measure what that loses.

    The new file is standard GGUF. Its loss against the source, on text it was not fitted to,
    stands in its metadata and in the record. With --fit or --max-kl each kind of matrix gets the
    type that measuring finds best.

    Example: freehold quantize starter Q4_0 --calibration notes.txt --output small.gguf
    """
    from freehold.cli.quantized import show_quantized, write_with_bars
    from freehold.config import resolve_settings
    from freehold.local.quantizing import Wanted
    from freehold.quantize import TextChoice

    texts = TextChoice(
        calibration=tuple(calibration or ()),
        held_out=held_out,
        calibration_tokens=tokens,
        held_out_tokens=held_out_tokens,
    )
    wanted = Wanted(
        recipe=recipe,
        goal=_goal(size, max_kl, html),
        output=output,
        replace=force,
        method=method,
        texts=texts,
    )
    with _cleaning_up():
        made = write_with_bars(ref, wanted, resolve_settings({"threads": threads}))
    show_quantized(made, html, as_json=as_json)


@contextmanager
def _cleaning_up() -> Iterator[None]:
    """Lets SIGTERM end the command as an error would: the unfinished file goes."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _goal(size: str | None, max_kl: float | None, html: Path | None) -> Goal | None:
    """What --fit or --max-kl ask for. Raises: BadRecipe."""
    from freehold.errors import BadRecipe
    from freehold.quantize import Goal, read_size

    if size is None and max_kl is None:
        if html is not None:
            raise BadRecipe(
                "there is nothing to draw",
                value=str(html),
                expected="--fit or --max-kl with --html",
            )
        return None
    return Goal(None if size is None else read_size(size), max_kl)
