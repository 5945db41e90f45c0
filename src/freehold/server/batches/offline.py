"""A batch without a server: a file of requests in, files of answers out, gone on with at will.

Room: server. The same routes answer as in a server; must not know terminals.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from freehold.config import Settings
from freehold.errors import BadRequest
from freehold.server.accounting import Accounting
from freehold.server.app import create_app
from freehold.server.batches.answering import answered, is_good, usage_of
from freehold.server.batches.lines import ENDPOINTS, Lines, read_line, read_lines
from freehold.server.bodies import Limits
from freehold.server.context import Asker, House
from freehold.server.residents import Residents
from freehold.store import open_store

__all__ = ["Totals", "answer_file"]

_AT_ONCE = 32


@dataclass
class Totals:
    """Lines by what became of them, and tokens of those that were answered now."""

    total: int = 0
    before: int = 0
    completed: int = 0
    failed: int = 0
    tokens: list[int] = field(default_factory=lambda: [0, 0, 0, 0])


def answer_file(
    source: Path,
    output: Path,
    errors: Path,
    *,
    settings: Settings,
    refs: Sequence[str] = (),
    on_line: Callable[[Totals], None] = lambda _: None,
) -> Totals:
    """Answers every line that has no answer yet; each answer is on the disk before the next counts.

    Lines are answered as they come to an end, not in the order of the file. `refs` are models
    beside those of the store. Raises: BadRequest for a file that is not valid, naming the line;
    what loading raises; OSError.
    """
    with ExitStack() as stack:
        handle = stack.enter_context(source.open("rb"))
        lines, endpoint = _judged(handle)
        kept = [stack.enter_context(_Kept(path)) for path in (output, errors)]
        done = kept[0].ids | kept[1].ids
        totals = Totals(total=len(lines), before=len(done.intersection(lines.ids)))
        left = [number for number, name in enumerate(lines.ids) if name not in done]
        work = _Offline(handle, lines, endpoint, kept[0], kept[1], totals, on_line)
        if left:
            asyncio.run(_run(work, iter(left), settings, refs))
        return totals


def _judged(handle: BinaryIO) -> tuple[Lines, str]:
    first = handle.readline(1 << 23)
    try:
        endpoint = json.loads(first)["url"]
    except (ValueError, KeyError, TypeError):
        endpoint = ENDPOINTS[0]
    handle.seek(0)
    lines = read_lines(handle, endpoint, Limits())
    if endpoint not in ENDPOINTS:
        raise BadRequest(
            "line 1 asks something that batches do not",
            param="url",
            expected=" or ".join(ENDPOINTS),
            found=repr(endpoint)[:100],
        )
    if lines.problems:
        problem = lines.problems[0]
        where = "" if problem.line is None else f"line {problem.line}: "
        more = len(lines.problems) - 1
        raise BadRequest(
            f"{where}{problem.message}" + (f"; {more} more lines are not valid" if more else ""),
            param=problem.param,
        )
    return lines, endpoint


class _Kept:
    """A file of answers that grows: a line that a crash cut off is taken away first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ids: set[str] = set()
        self._file: BinaryIO | None = None
        self._one = Lock()  # answers come from several threads

    def __enter__(self) -> _Kept:
        end = 0
        if self._path.exists():
            with self._path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self.ids.add(self._id_in(line))
                    end += len(line)
            os.truncate(self._path, end)
        return self

    def _id_in(self, line: bytes) -> str:
        try:
            return str(json.loads(line)["custom_id"])
        except (ValueError, KeyError, TypeError):
            raise BadRequest(
                f"{self._path}: this is no file of a batch's answers",
                expected="lines with a custom_id",
                hint="name another file to write to",
            ) from None

    def add(self, record: dict[str, object]) -> None:
        """One more, on the disk."""
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._one:
            if self._file is None:
                self._file = self._path.open("ab")
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()


@dataclass
class _Offline:
    handle: BinaryIO
    lines: Lines
    endpoint: str
    output: _Kept
    errors: _Kept
    totals: Totals
    on_line: Callable[[Totals], None]

    async def work_off(self, left: Iterator[int], house: House) -> None:
        """Takes one line after the other."""
        assert house.inside is not None, "a house without its routes"
        for number in left:
            line = read_line(self.handle, self.lines, number)
            name = f"line-{number + 1}"
            record = await answered(
                house.inside, self.endpoint, line, Asker(request_id=name), request_id=name
            )
            good = is_good(record)
            await asyncio.to_thread((self.output if good else self.errors).add, record)
            self.totals.completed += good
            self.totals.failed += not good
            pairs = zip(self.totals.tokens, usage_of(record), strict=True)
            self.totals.tokens = [a + b for a, b in pairs]
            self.on_line(self.totals)


async def _run(
    work: _Offline, left: Iterator[int], settings: Settings, refs: Sequence[str]
) -> None:
    store = open_store(settings.database, settings.home)
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        accounting = Accounting(store.usage)
        residents = Residents(settings=settings, refs=refs, accounting=accounting)
        stack.push_async_callback(residents.close)
        house = House(settings=settings, residents=residents, store=store, accounting=accounting)
        create_app(house)
        await residents.start()
        # The first model asked for is loaded once, however many lines wait for it.
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(work.work_off(left, house))
