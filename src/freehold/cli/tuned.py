"""How a training is shown: a bar while it runs, and what it came to.

Room: cli.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freehold.cli.printing import print_json, say, table_console

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.tune.running import Tuned
    from freehold.tune.training.spec import TrainSpec

__all__ = ["show_tuned", "tune_with_bars"]

_LABELS = {"verify": "hashing", "train": "training"}


def tune_with_bars(
    ref: str,
    spec: TrainSpec,
    data: tuple[str, str | None],
    *,
    name: str | None,
    processes: int,
    again: bool,
    settings: Settings,
) -> Tuned:
    """Trains while a bar shows how far it is, and what the loss is."""
    from freehold.tune.running import tune

    learned, judge = data
    chosen = name or f"{ref.rsplit('/', 1)[-1].removesuffix('.gguf')}-{learned}"
    whole = _with_data(spec, learned, judge, settings)
    with _bars() as (progress, hear):
        return tune(
            ref,
            whole,
            chosen,
            settings=settings,
            processes=processes,
            again=again,
            progress=progress,
            on_event=hear,
        )


def _with_data(spec: TrainSpec, name: str, judge: str | None, settings: Settings) -> TrainSpec:
    """The files of data sets that may be trained on. Raises: NotFound, NotAdmitted, BadDataset."""
    from freehold.store import open_store
    from freehold.tune.datasets.registry import Registry

    registry = Registry(open_store(settings.database, settings.home), settings.home)
    try:
        data = registry.admitted(name)
        held_out = None if judge is None else str(registry.admitted(judge).path)
    finally:
        registry.close()
    return replace(
        spec, data=str(data.path), heldout=held_out, form=data.form, mapping=data.mapping
    )


@contextmanager
def _bars() -> Iterator[
    tuple[Callable[[str, int, int], None], Callable[[Mapping[str, Any]], None]]
]:
    """A bar with steps, loss and time left on stderr; quiet lines where none is seen."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    seen = console.is_terminal
    said = {"train": "", "heldout": "", "speed": ""}
    with Progress(*columns, console=console, transient=True, disable=not seen) as bars:

        def progress(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(_LABELS[phase], total=total, said="")
                if not seen:
                    say(_LABELS[phase])
            words = " ".join(each for each in said.values() if each)
            bars.update(tasks[phase], completed=done, said=words if phase == "train" else "")

        def hear(event: Mapping[str, Any]) -> None:
            if event["kind"] == "started" and event["split"]:
                say(f"long examples were split: {event['split']} more pieces than examples")
            elif event["kind"] == "step":
                said["train"] = f"loss {event['loss']:.3f}"
                said["speed"] = f"{event['tokens_per_s']:.0f} tokens/s"
            elif event["kind"] == "heldout":
                said["heldout"] = f"held out {event['loss']:.3f}"
                if not seen:
                    say(f"  step {event['step']}: held-out loss {event['loss']:.4f}")

        yield progress, hear


def show_tuned(ref: str, made: Tuned, *, as_json: bool) -> None:
    """What the training came to, where it lies, and the command that serves it."""
    result = made.result
    assert result.adapter_dir is not None, "a training that ends has a result"
    whole = (result.adapter_dir / "model.safetensors").exists()
    served = (
        ["freehold", "serve", str(result.adapter_dir)]
        if whole
        else ["freehold", "serve", ref, "--adapter", f"{made.name}={result.adapter_dir}"]
    )
    if as_json:
        print_json(_record(made, served))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify)
    for row in _rows(made):
        table.add_row(*row)
    say(f"{made.name}, from {ref}")
    table_console().print(table)
    say(f"  {result.adapter_dir}")
    say(f"  loss by step: {made.directory / 'loss.svg'}")
    say("serve it with")
    say(f"  {shlex.join(served)}")


def _rows(made: Tuned) -> Iterator[tuple[str, str, str]]:
    result = made.result
    yield "steps", str(result.steps), f"{result.tokens} tokens, each example whole"
    if result.heldout_loss is not None:
        before = result.first_heldout_loss
        was = "" if before is None else f"nats a learned token; {before:.4f} before"
        best = "" if result.best_step in (None, result.steps) else f", best at {result.best_step}"
        yield "held-out loss", f"{result.heldout_loss:.4f}", was + best
    else:
        yield "training loss", f"{result.train_loss:.4f}", "of the last step; nothing was held out"
    share = result.computed_tokens / max(1, result.tokens)
    yield "speed", f"{result.tokens_per_s:.0f}", f"tokens/s; {share:.0%} of them had to be computed"
    yield "memory", f"{result.peak_bytes / 1e6:.0f} MB", "at most"


def _record(made: Tuned, served: list[str]) -> dict[str, object]:
    result = made.result
    return {
        "name": made.name,
        "adapter": str(result.adapter_dir),
        "steps": result.steps,
        "train_loss": result.train_loss,
        "heldout_loss": result.heldout_loss,
        "heldout_loss_before": result.first_heldout_loss,
        "best_step": result.best_step,
        "tokens": result.tokens,
        "computed_tokens": result.computed_tokens,
        "tokens_per_s": result.tokens_per_s,
        "peak_bytes": result.peak_bytes,
        "serve": shlex.join(served),
    }
