"""A run's items on disk: a line for each, so that what is done stays done.

Room: evals. Knows files; must not know models.

The first line says which task and model the items are of. Each later one is an item. What was cut
off in the middle of a line is measured again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from freehold.errors import BadTask, NotComparable
from freehold.evals.items import Task
from freehold.evals.results import ItemResult
from freehold.evals.target import Identity

__all__ = ["KeptItems"]

_FORM = "freehold eval items 1"
_MOST_BYTES = 4 << 30


@dataclass
class KeptItems:
    """The items of a run so far; `add` keeps one more, in a file or by `put` if there is one."""

    file: IO[str] | None = None
    items: list[ItemResult] = field(default_factory=list)
    put: Callable[[ItemResult], None] | None = None

    @classmethod
    def open(cls, path: Path | None, task: Task, target: Identity) -> KeptItems:
        """Begins a file, or goes on with it. Raises: NotComparable if it is of something else."""
        if path is None:
            return cls()
        head = {"form": _FORM, "task": task.name, "task_digest": task.digest} | _who(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        items, size = _read(path, head) if path.exists() and path.stat().st_size else ([], 0)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        file = os.fdopen(descriptor, "r+", encoding="utf-8", newline="\n")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise BadTask(
                "another run of the same task and model is under way", value=str(path)
            ) from error
        file.truncate(size)
        file.seek(0, os.SEEK_END)
        kept = cls(file, items)
        if not size:
            kept._write(head)
        return kept

    def add(self, item: ItemResult) -> None:
        """One more item, whole or not at all as far as a reader can tell."""
        if self.file is not None:
            self._write(item.as_dict())
        if self.put is not None:
            self.put(item)

    def _write(self, value: dict[str, Any]) -> None:
        assert self.file is not None, "nothing is kept here"
        self.file.write(json.dumps(value, ensure_ascii=False) + "\n")
        self.file.flush()

    def __enter__(self) -> KeptItems:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.file is not None:
            self.file.close()


def _who(target: Identity) -> dict[str, Any]:
    return {"model": target.name, "model_digest": target.digest, "via": target.via}


def _read(path: Path, head: dict[str, Any]) -> tuple[list[ItemResult], int]:
    """The whole lines of a file and where they end."""
    if path.stat().st_size > _MOST_BYTES:
        raise BadTask("the file of kept items is too large", value=str(path), expected="4 GiB")
    items: dict[int, ItemResult] = {}
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                break
            if number == 0:
                _check_head(path, line, head)
            else:
                with suppress(ValueError, KeyError, TypeError, IndexError):
                    item = ItemResult.from_dict(json.loads(line))
                    items[item.index] = item
            end += len(line)
    return list(items.values()), end


def _check_head(path: Path, line: bytes, head: dict[str, Any]) -> None:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    same = ("form", "task_digest", "model_digest", "model", "via")
    if not isinstance(found, dict) or any(found.get(key) != head[key] for key in same):
        raise NotComparable(
            "the file holds the items of another run",
            value=str(path),
            expected=f"{head['task']} with {head['model']}",
            hint="name another file",
        )
