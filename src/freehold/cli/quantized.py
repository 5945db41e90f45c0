"""How a quantized file is shown: bars while it is made, and its loss as a table.

Room: cli.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from freehold.cli.printing import print_json, say, table_console

if TYPE_CHECKING:
    from pathlib import Path

    from freehold.config import Settings
    from freehold.local.quantizing import Quantized, Wanted
    from freehold.quantize import Fitted, Outcome

__all__ = ["progress_bars", "show_quantized", "write_with_bars"]

_LABELS = {
    "compare": "comparing",
    "encode": "encoding",
    "measure": "measuring",
    "probe": "probing",
    "verify": "hashing",
    "write": "writing",
}
_METHODS = {
    "feedback": "with error feedback",
    "importance": "with the importance of columns",
    "weights": "the weights alone",
}


def write_with_bars(ref: str, wanted: Wanted, settings: Settings) -> Quantized:
    """Makes the file while bars show how far it is."""
    from freehold import ops
    from freehold.local.quantizing import quantize

    if settings.threads is not None:
        ops.set_threads(settings.threads)
    with progress_bars() as progress:
        return quantize(ref, wanted, settings=settings, progress=progress)


def show_quantized(made: Quantized, html: Path | None, *, as_json: bool) -> None:
    """The file's loss as a table or as JSON; the curve it was chosen on also as a page."""
    if html is not None and made.fitted is not None:
        from freehold.quantize.picture import curve_page

        html.write_text(curve_page(made.fitted), "utf-8")
    if as_json:
        print_json(_outcome_record(made))
        return
    _print_outcome(made.outcome)
    if made.fitted is not None:
        _print_curve(made.fitted)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each phase with rate and time left, on stderr; a line each where none is seen."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskID,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]:>14}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    seen = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not seen) as bars:

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(_LABELS[phase], total=total, rate="")
                if not seen:
                    say(_LABELS[phase])
            speed = bars.tasks[tasks[phase]].speed
            rate = "" if not speed else _rate(phase, speed)
            bars.update(tasks[phase], completed=done, total=total, rate=rate)

        yield show


def _rate(phase: str, speed: float) -> str:
    if phase == "probe":
        return f"{speed:.1f} groups/s"
    return f"{speed:.0f} tokens/s" if phase in ("measure", "compare") else f"{speed / 1e6:.1f} MB/s"


def _outcome_record(made: Quantized) -> dict[str, object]:
    """The outcome as one JSON object."""
    outcome, fitted = made.outcome, made.fitted
    texts, plan = outcome.texts, outcome.plan
    kinds: dict[str, int] = {}
    for choice in plan.choices.values():
        kinds[choice.type.name] = kinds.get(choice.type.name, 0) + 1
    return {
        "path": str(outcome.path),
        "recipe": plan.recipe,
        "method": outcome.method,
        "size_bytes": outcome.size_bytes,
        "source_bytes": outcome.source_bytes,
        "bits_per_weight": outcome.bits_per_weight,
        "loss": outcome.loss.as_dict(),
        "calibration": {"text": texts.calibration_name, "tokens": texts.calibration_tokens},
        "held_out": {"text": texts.held_out_name, "tokens": texts.held_out_tokens},
        "types": kinds,
        "substitutes": [
            {"wanted": wanted.name, "type": got.name, "matrices": count}
            for (wanted, got), count in plan.substitutes.items()
        ],
        "encode_s": round(outcome.encode_s, 3),
        "measure_s": round(outcome.measure_s, 3),
        "curve": None if fitted is None else _curve_record(fitted),
    }


def _curve_record(fitted: Fitted) -> dict[str, object]:
    points = [
        {"size_bytes": point.size_bytes + fitted.other_bytes, "expected_kl": point.expected_kl}
        for point in fitted.curve.points
    ]
    named = [asdict(each) for each in fitted.named]
    types = {name: kind.name for name, kind in fitted.point.types.items()}
    return {"points": points, "recipes": named, "groups": types}


def _print_curve(fitted: Fitted) -> None:
    """What could have been had at other sizes, and which types were chosen."""
    from rich.table import Table

    outcome = fitted.outcome
    rows: list[tuple[int, float, str]] = [
        (each.size_bytes, each.expected_kl, each.name) for each in fitted.named
    ]
    points = fitted.curve.points
    for index in sorted({round(step * (len(points) - 1) / 7) for step in range(8)}):
        point = points[index]
        if point is not fitted.point:
            rows.append((point.size_bytes + fitted.other_bytes, point.expected_kl, ""))
    measured = outcome.loss.mean_kl
    note = f"chosen; measured {measured:.4f}"
    rows.append((outcome.size_bytes, fitted.point.expected_kl, note))
    table = Table("size", "expected KL", "", box=None, pad_edge=False)
    table.columns[0].justify = table.columns[1].justify = "right"
    for size, loss, label in sorted(rows):
        table.add_row(f"{size / 1e6:.1f} MB", f"{loss:.4f}", label)
    say()
    say("what other sizes are expected to lose, without error feedback")
    table_console().print(table)
    groups = Table("group", "type", "expected KL", box=None, pad_edge=False)
    for group, loss in fitted.losses():
        groups.add_row(group, fitted.point.types[group].name, f"{loss:.5f}")
    table_console().print(groups)


def _print_outcome(outcome: Outcome) -> None:
    """The file's size and loss as a table on stdout, and what a reader should know, on stderr."""
    from rich.table import Table

    loss = outcome.loss
    share = outcome.size_bytes / outcome.source_bytes
    change = loss.perplexity / loss.source_perplexity - 1
    rows = (
        (
            "size",
            f"{outcome.size_bytes / 1e6:.1f} MB",
            f"{share:.0%} of the source's {outcome.source_bytes / 1e6:.1f} MB,"
            f" {outcome.bits_per_weight:.2f} bits a weight",
        ),
        ("mean KL", f"{loss.mean_kl:.4f}", "nats a token; 0 would be the source itself"),
        ("99th percentile", f"{loss.p99_kl:.4f}", "one token in a hundred is further off"),
        ("same next token", f"{loss.agreement:.1%}", "where both would choose the likeliest"),
        (
            "perplexity",
            f"{loss.perplexity:.2f}",
            f"{change:+.1%} of the source's {loss.source_perplexity:.2f}",
        ),
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify)
    for row in rows:
        table.add_row(*row)
    say(f"{outcome.plan.recipe}, {_METHODS[outcome.method]}")
    table_console().print(table)
    for line in _remarks(outcome):
        say(line)


def _remarks(outcome: Outcome) -> Iterator[str]:
    texts, plan = outcome.texts, outcome.plan
    if texts.calibration:
        yield f"fitted to {texts.calibration_tokens} tokens of {texts.calibration_name}"
    yield f"judged by {texts.held_out_tokens} tokens of {texts.held_out_name}"
    if "built-in" in texts.held_out_name:
        yield "  the built-in text is short and general: --calibration with your own says more"
    if plan.substitutes:
        what = ", ".join(
            f"{count} x {got.name} for {wanted.name}"
            for (wanted, got), count in plan.substitutes.items()
        )
        yield f"rows that the recipe's blocks do not divide have other types: {what}"
    missed = len(plan.choices) - len(outcome.guided)
    if missed and texts.calibration:
        yield f"no text guided {missed} of {len(plan.choices)} matrices"
    yield f"  {outcome.path}"
