"""One run as a person starts it: gone on with if it was cut off, known if it was had, recorded.

Room: evals. Knows the home and the record; must not know terminals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freehold import __version__
from freehold.config import Settings
from freehold.evals.items import Task, digest_of
from freehold.evals.kept import KeptItems
from freehold.evals.recorded import record_result
from freehold.evals.results import Result
from freehold.evals.running import run_task
from freehold.evals.target import Identity, Target
from freehold.library.progress import Progress, silent
from freehold.library.record import open_record

__all__ = ["Measured", "measure"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A result; `known` items of it were there from an earlier run."""

    result: Result
    known: int


def measure(
    task: Task,
    target: Target,
    *,
    settings: Settings,
    again: bool = False,
    progress: Progress = silent,
) -> Measured:
    """Runs a task, or goes on with what the home has of it; `again` starts anew.

    Items are kept under the home by the digests of task and weights. Of a server, which may answer
    with other weights tomorrow, they are let go once the run is whole. A run that ended here goes
    into the record, if the weights have a digest.
    Raises: as `run_task`; StoreUnusable.
    """
    path = _place(settings.home, task, target.identity)
    if again:
        path.unlink(missing_ok=True)
    with KeptItems.open(path, task, target.identity) as kept:
        known = len(kept.items)
        result = run_task(task, target, keep=kept, progress=progress)
    if target.identity.digest is None:
        path.unlink(missing_ok=True)
    elif not result.partial and known < result.total:
        with open_record(settings) as events:
            record_result(events, result, by={"with": f"freehold {__version__}"})
    return Measured(result=result, known=known)


def _place(home: Path, task: Task, target: Identity) -> Path:
    model = target.digest or digest_of([target.name, target.via])
    name = f"{task.digest[7:23]}-{model[7:23]}.jsonl"
    return home / "evals" / name
