"""A bar with bytes or counts, rate and time left, for whatever takes long.

Room: cli. Must not know what is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

__all__ = ["progress_bar"]

_INSTANT_BYTES = 1_000_000  # done before a line of it could be read


@contextmanager
def progress_bar(
    labels: Mapping[str, str], *, counts: bool = False
) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, quiet lines where nobody can see one; called with phase, done and total.

    `labels` says what each phase is called; `counts` that things are counted, not bytes.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    amounts = (MofNCompleteColumn(),) if counts else (DownloadColumn(), TransferSpeedColumn())
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        *amounts,
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    # rich still prints an empty line for a bar that nobody can see.
    seen = console.is_terminal
    bars = Progress(*columns, console=console, transient=True, disable=not seen)

    def show(phase: str, done: int, total: int) -> None:
        if phase not in tasks:
            bars.start()
            tasks[phase] = bars.add_task(labels[phase], total=total or None)
            if not seen and (counts or not 0 < total < _INSTANT_BYTES):
                size = f"{total} items" if counts else f"{total / 1e6:.0f} MB"
                console.print(labels[phase] + (f" {size}" if total else ""))
        bars.update(tasks[phase], completed=done, total=total or None)

    try:
        yield show
    finally:
        if tasks:
            bars.stop()
