"""Runs a batch to its end: each line once, however often the server ends in between.

Room: server. An answer is kept with its line's number before it counts, so that whoever goes on
knows what is done. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from freehold.errors import Forbidden, NotFound
from freehold.server.batches.answering import answered, is_good, never_answered, usage_of
from freehold.server.batches.lines import Lines, read_line, read_lines
from freehold.server.bodies import Limits
from freehold.server.context import Asker
from freehold.server.doors import scope_of
from freehold.server.jobs import Outcome, Tell
from freehold.store import Job, Said

if TYPE_CHECKING:
    from freehold.server.context import House

__all__ = ["Batches", "asker_for"]

_AT_ONCE = 16
_TELL_EVERY_S = 1.0
_CHECK_KEY_EVERY_S = 30.0
_MOST_BYTES = 4 << 30
_PAGE = 500
_EXPIRED = "the batch's time was over before this request was answered"


def asker_for(house: House, owner: str, request_id: str) -> Asker:
    """The owner of a job, as who asks in the background.

    Raises: Forbidden when the key was revoked or has expired since.
    """
    if owner == "local":
        return Asker(request_id=request_id, background=True)
    now = time.time()
    for record in house.store.keys.list():
        if record.id == owner and record.state(now) == "valid":
            return Asker(key_id=owner, scopes=record.scopes, request_id=request_id, background=True)
    raise Forbidden("the key that asked for this job is not valid any more", value=owner)


class Batches:
    """The runner of batches."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()

    async def run(
        self, job: Job, *, house: House, tell: Tell, asked: Callable[[], str | None]
    ) -> Outcome:
        """Judge the file, answer what is not answered yet, and write both files."""
        if "ended" in job.state:  # all was written when the server ended
            await asyncio.to_thread(house.store.evals.forget_items, job.id)
            return Outcome(job.state["ended"], job.state)
        with ExitStack() as stack:
            handle = await asyncio.to_thread(_opened, house, job)
            stack.callback(handle.close)
            lines = await asyncio.to_thread(read_lines, handle, job.spec["endpoint"], self._limits)
            if lines.problems:
                errors = [asdict(problem) for problem in lines.problems]
                state = {**job.state, "errors": errors, "model": lines.model}
                return Outcome("failed", state, (Said("the input file is not valid", "error"),))
            work = _Work(job, house, tell, asked, lines, handle)
            return await work.done()


def _opened(house: House, job: Job) -> BinaryIO:
    try:
        return house.store.files.open(job.spec["input_file_id"], owner=job.owner)
    except NotFound as error:
        error.param = "input_file_id"
        raise


class _Work:
    """One batch under way."""

    def __init__(
        self,
        job: Job,
        house: House,
        tell: Tell,
        asked: Callable[[], str | None],
        lines: Lines,
        handle: BinaryIO,
    ) -> None:
        self._job, self._house, self._tell, self._asked = job, house, tell, asked
        self._lines, self._handle = lines, handle
        self._endpoint: str = job.spec["endpoint"]
        self._items = house.store.evals
        self._state: dict[str, Any] = {**job.state, "total": len(lines), "model": lines.model}
        self._counts = {"completed": 0, "failed": 0}
        self._asker: Asker | None = None

    async def done(self) -> Outcome:
        done = await asyncio.to_thread(self._done_before)
        self._state.setdefault("in_progress_at", time.time())
        await self._keep("in_progress")
        left = [number for number in range(len(self._lines)) if number not in done]
        status = await self._answer_all(iter(left))
        if status == "cancelled":
            self._state.setdefault("cancelling_at", time.time())
        self._state["finalizing_at"] = time.time()
        await self._keep("finalizing")
        await asyncio.to_thread(self._write_files, status)
        # The answers are in the files now, and whoever deletes those means it.
        self._state["ended"] = status
        await self._keep("finalizing")
        await asyncio.to_thread(self._items.forget_items, self._job.id)
        said = Said(f"{self._counts['completed']} answered, {self._counts['failed']} refused")
        return Outcome(status, {**self._state, **self._counts}, (said,))

    def _done_before(self) -> set[int]:
        done = set()
        for number, record in self._records():
            done.add(number)
            self._counts["completed" if is_good(record) else "failed"] += 1
        return done

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        after = -1
        while found := self._items.items(
            self._job.id, owner=self._job.owner, after=after, limit=_PAGE
        ):
            yield from found
            after = found[-1][0]

    async def _keep(self, phase: str) -> None:
        self._state["phase"] = phase
        await self._tell({**self._state, **self._counts})

    async def _answer_all(self, left: Iterator[int]) -> str:
        """Answers until nothing is left or there is a reason to stop; how the batch ends."""
        await self._check_key()
        # One text after the other: an embedder has no queue of its own for the background.
        at_once = 1 if self._endpoint == "/v1/embeddings" else _AT_ONCE
        workers = [asyncio.create_task(self._work_off(left)) for _ in range(at_once)]
        checked = time.monotonic()
        try:
            while True:
                finished, open_ones = await asyncio.wait(workers, timeout=_TELL_EVERY_S)
                for worker in finished:
                    worker.result()
                if not open_ones:
                    return "succeeded"
                await self._keep("in_progress")
                if self._asked() == "cancel":
                    return "cancelled"
                if time.time() >= self._job.spec["expires_at"]:
                    return "expired"
                if time.monotonic() - checked > _CHECK_KEY_EVERY_S:
                    checked = time.monotonic()
                    await self._check_key()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _check_key(self) -> None:
        asker = await asyncio.to_thread(asker_for, self._house, self._job.owner, self._job.id)
        needed = scope_of(self._endpoint) or ""
        if not asker.may(needed):
            raise Forbidden(f"the key does not cover {needed!r}", value=needed)
        self._asker = asker

    async def _work_off(self, left: Iterator[int]) -> None:
        inside = self._house.inside
        assert inside is not None, "jobs run in a house without its routes"
        for number in left:
            assert self._asker is not None, "a line is answered for nobody"
            line = read_line(self._handle, self._lines, number)
            name = f"{self._job.id}-{number + 1}"
            asker = replace(self._asker, request_id=name)
            record = await answered(inside, self._endpoint, line, asker, request_id=name)
            # Whole even when the server ends now: what was answered is not asked again.
            kept = asyncio.to_thread(self._items.put_item, self._job.id, number, record)
            await asyncio.shield(asyncio.ensure_future(kept))
            self._counts["completed" if is_good(record) else "failed"] += 1

    def _write_files(self, status: str) -> None:
        """Both files, in the order of the input; a file that is there already stays."""
        usage = [0, 0, 0, 0]
        counts = {"completed": 0, "failed": 0}

        def records() -> Iterator[dict[str, Any]]:
            found = self._records()
            number, record = next(found, (len(self._lines), None))
            for place in range(len(self._lines)):
                if number == place:
                    assert record is not None, "a record without its content"
                    yield record
                    number, record = next(found, (len(self._lines), None))
                elif status == "expired":
                    name = f"{self._job.id}-{place + 1}"
                    yield never_answered(self._lines.ids[place], name, "batch_expired", _EXPIRED)

        for record in records():
            counts["completed" if is_good(record) else "failed"] += 1
            usage = [a + b for a, b in zip(usage, usage_of(record), strict=True)]
        self._counts = counts
        self._state["usage"] = usage
        for name, good, count in (
            ("output", True, counts["completed"]),
            ("error", False, counts["failed"]),
        ):
            if count:
                lines = (
                    json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
                    for record in records()
                    if is_good(record) is good
                )
                self._state[f"{name}_file_id"] = self._written(name, lines)

    def _written(self, name: str, lines: Iterator[bytes]) -> str:
        files, owner = self._house.store.files, self._job.owner
        digest = hashlib.sha256(f"{self._job.id} {name}".encode()).hexdigest()
        file_id = f"file-{digest[:32]}"
        kept_s = self._job.spec.get("output_expires_s")
        if files.get(file_id, owner=owner) is None:
            with files.incoming(max_bytes=_MOST_BYTES) as incoming:
                for line in lines:
                    incoming.write(line)
                incoming.publish(
                    owner=owner,
                    filename=f"{self._job.id}_{name}.jsonl",
                    purpose="batch_output",
                    expires_at=None if kept_s is None else time.time() + kept_s,
                    file_id=file_id,
                )
        return file_id
