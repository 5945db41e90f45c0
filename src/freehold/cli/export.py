"""`freehold export` and `freehold merge`: hand on what an adapter taught, once it was checked.

Room: cli. Asks, shows progress, and shows the result; how it is done is the room tune's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freehold.cli.options import AsJson, Reference, Threads

if TYPE_CHECKING:
    from freehold.tune.export.publishing import Exported, Wanted

__all__ = ["export", "merge"]

_Adapter = Annotated[
    str,
    typer.Argument(
        metavar="ADAPTER", help="A training's name, a LoRA directory, or its GGUF file."
    ),
]
_Output = Annotated[Path, typer.Option("--output", "-o", help="Where it goes.")]
_Form = Annotated[
    str,
    typer.Option(
        "--as",
        metavar="FORM",
        help="peft and gguf-lora are the adapter alone; safetensors and gguf a whole model.",
    ),
]
_Kind = Annotated[str, typer.Option("--type", help="Of a whole model's floats: F16, BF16, F32.")]
_Recipe = Annotated[
    str | None, typer.Option("--recipe", help="Quantize the GGUF file, as Q8_0 or Q4_K_M.")
]
_Calibration = Annotated[
    list[Path] | None,
    typer.Option("--calibration", metavar="FILE", help="Text to fit the quantization to."),
]
_HeldOut = Annotated[
    Path | None,
    typer.Option(
        "--heldout", metavar="FILE", help="Conversations (.jsonl) or text to compare answers on."
    ),
]
_MaxKl = Annotated[
    float, typer.Option("--max-kl", help="How far answers may be from the adapter's, in nats.")
]
_Agreement = Annotated[
    float, typer.Option("--agreement", help="The least share of tokens that must be the same.")
]
_Unproven = Annotated[
    bool,
    typer.Option("--unproven", help="Also where nobody knows how, or on what, it was trained."),
]
_Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def export(
    ref: Reference,
    adapter: _Adapter,
    *,
    form: _Form,
    output: _Output,
    kind: _Kind = "F16",
    recipe: _Recipe = None,
    calibration: _Calibration = None,
    heldout: _HeldOut = None,
    max_kl: _MaxKl = 0.1,
    agreement: _Agreement = 0.9,
    unproven: _Unproven = False,
    force: _Force = False,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Hand on what an adapter taught, in a form that others load.

    It is refused when conversations would be rendered otherwise than in training, or when answers
    are further from the adapter's than --max-kl and --agreement allow.

    Example: freehold export starter ./poet --as gguf --recipe Q8_0 --output poet.gguf
    """
    from freehold.quantize import TextChoice
    from freehold.tune.export.drift import Bound
    from freehold.tune.export.publishing import Wanted

    wanted = Wanted(
        form=form,  # type: ignore[arg-type] # judged there, as everything that is asked
        output=output,
        kind=kind.upper(),  # type: ignore[arg-type]
        recipe=recipe,
        texts=TextChoice(calibration=tuple(calibration or ())),
        bound=Bound(mean_kl=max_kl, agreement=agreement),
        held_out=heldout,
        unproven=unproven,
        replace=force,
    )
    _show(_made(ref, adapter, wanted, threads), as_json=as_json)


def merge(
    ref: Reference,
    adapter: _Adapter,
    *,
    output: _Output,
    kind: _Kind = "F16",
    heldout: _HeldOut = None,
    unproven: _Unproven = False,
    force: _Force = False,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Make one model of a base and an adapter, in floats.

    A name that ends in .gguf makes a file, any other a directory of safetensors. The checks are
    those of `freehold export`.

    Example: freehold merge starter ./poet --output poet.gguf
    """
    from freehold.tune.export.publishing import Wanted

    wanted = Wanted(
        form="gguf" if output.suffix == ".gguf" else "safetensors",
        output=output,
        kind=kind.upper(),  # type: ignore[arg-type] # judged there
        held_out=heldout,
        unproven=unproven,
        replace=force,
    )
    _show(_made(ref, adapter, wanted, threads), as_json=as_json)


def _made(ref: str, adapter: str, wanted: Wanted, threads: int | None) -> Exported:
    from freehold import ops
    from freehold.cli.quantized import progress_bars
    from freehold.config import resolve_settings
    from freehold.tune.export.publishing import export as run
    from freehold.tune.export.publishing import find_adapter

    settings = resolve_settings({"threads": threads})
    if settings.threads is not None:
        ops.set_threads(settings.threads)
    with progress_bars() as progress:
        found = find_adapter(adapter, settings)
        return run(ref, found, wanted, settings=settings, progress=progress)


def _show(made: Exported, *, as_json: bool) -> None:
    from rich.table import Table

    from freehold.cli.printing import print_json, say, table_console

    drift, outcome = made.drift, made.quantized
    if as_json:
        said: dict[str, Any] = {
            "path": str(made.path),
            "form": made.form,
            "size_bytes": made.size_bytes,
            "rendering": made.rendering,
            "drift": drift.as_dict(),
            "lines": made.lines,
            "system": made.system,
            "recipe": None if outcome is None else outcome.plan.recipe,
            "loss": None if outcome is None else outcome.loss.as_dict(),
        }
        print_json(said)
        return
    places = f"at {drift.tokens:,} places of {made.lines}"
    rows = [
        ("size", f"{made.size_bytes / 1e6:.1f} MB", made.form),
        ("rendering", made.rendering, "of the probe conversations, template and vocabulary"),
        ("mean KL", f"{drift.mean_kl:.4f}", "nats a token from the adapter's answers"),
        (
            "same next token",
            f"{drift.agreement:.1%}",
            places,
        ),
    ]
    if made.system is not None:
        rows.append(("system message", "needed", "training led conversations with it; send it"))
    if outcome is not None:
        words = f"mean KL of {outcome.plan.recipe} from the merged floats, on other text"
        rows.append(("quantizing lost", f"{outcome.loss.mean_kl:.4f}", words))
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify)
    for row in rows:
        table.add_row(*row)
    table_console().print(table)
    say(f"  {made.path}")
