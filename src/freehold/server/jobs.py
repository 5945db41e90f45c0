"""The background of the server: claims jobs, has them done, and gives back what it cannot end.

Room: server. Knows the store's jobs and one table of who does which kind; must not know what a job
does. A job's worker is this home: what an earlier life of the server left running goes on at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from freehold.errors import DiskFull, FreeholdError, StoreError, TuneError
from freehold.server.http_errors import error_body
from freehold.store import Job, Said
from freehold.store.jobs import LEASE_S

if TYPE_CHECKING:
    from freehold.server.context import House

__all__ = ["Background", "Lost", "Outcome", "Runner", "Tell", "error_state"]

_LOOK_EVERY_S = 1.0
_BEAT_EVERY_LOOKS = int(LEASE_S / 3 / _LOOK_EVERY_S)
_SWEEP_EVERY_S = 600.0

_log = logging.getLogger(__name__)


class Lost(Exception):  # noqa: N818 - no error: another worker has the job now
    """The job is not ours any more: whoever works on it must stop at once."""


class Tell(Protocol):
    """Keeps a job's state together with what there is to say about it. Raises: Lost."""

    async def __call__(self, state: Mapping[str, Any] | None, *say: Said) -> None:
        """Both in one transaction; without a state, the events alone."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended: a status of `store.jobs.ENDED`, or "paused"."""

    status: str
    state: Mapping[str, Any]
    say: tuple[Said, ...] = field(default=())


class Runner(Protocol):
    """Does jobs of one kind.

    `run` may be cancelled at any moment, when the server ends: the job is then given back, and
    some later `run` goes on from the last state that was told.
    """

    async def run(
        self, job: Job, *, house: House, tell: Tell, asked: Callable[[], str | None]
    ) -> Outcome:
        """Do it to its end, or until `asked` says "cancel" or "pause".

        Raises: FreeholdError, which fails the job and is kept as its `error`.
        """


class Background:
    """Claims and carries jobs; `places` says how many of each kind at once."""

    def __init__(
        self,
        house: House,
        runners: Mapping[str, tuple[Runner, int]],
        *,
        regularly: Callable[[], Awaitable[None]] | None = None,
        on_bug: Callable[[BaseException, str], None] | None = None,
    ) -> None:
        self._house = house
        self._runners = runners
        self._regularly = regularly
        self._on_bug = on_bug
        self._worker = _worker_of(house.settings.home)
        self._jobs = house.store.jobs
        self._carried: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._woken = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; what an earlier life of this server held goes on. Raises: StoreUnusable."""
        await asyncio.to_thread(self._jobs.release, self._worker)
        self._loop = asyncio.create_task(self._run())

    def wake(self) -> None:
        """There may be something new to do."""
        self._woken.set()

    async def close(self) -> None:
        """Stop, and give every job back as it stands."""
        tasks = [task for _, task in self._carried.values()]
        if self._loop is not None:
            tasks.append(self._loop)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        swept = -_SWEEP_EVERY_S
        clock = asyncio.get_running_loop().time
        while True:
            try:
                if not self._house.draining:
                    await self._claim_all()
                    if clock() - swept > _SWEEP_EVERY_S:
                        swept = clock()
                        await asyncio.to_thread(self._house.store.files.sweep)
                if self._regularly is not None:
                    await self._regularly()
            except StoreError as error:
                _log.warning("jobs cannot be looked up: %s", error)
            self._woken.clear()
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _claim_all(self) -> None:
        for kind, (runner, most) in self._runners.items():
            while sum(of == kind for of, _ in self._carried.values()) < most:
                job = await asyncio.to_thread(self._jobs.claim, kind, self._worker)
                if job is None:
                    break
                task = asyncio.create_task(self._carry(job, runner))
                self._carried[job.id] = (kind, task)
                task.add_done_callback(partial(self._done, job))

    def _done(self, job: Job, task: asyncio.Task[None]) -> None:
        self._carried.pop(job.id, None)
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._found(error, job.id)

    def _found(self, bug: BaseException, job_id: str) -> None:
        if self._on_bug is not None:
            self._on_bug(bug, job_id)

    async def _carry(self, job: Job, runner: Runner) -> None:
        """One job, from its claim to its end."""
        hands = _Hands(self._house, self._worker, job)
        beating = asyncio.create_task(hands.beat())
        working = asyncio.create_task(
            runner.run(job, house=self._house, tell=hands.tell, asked=lambda: hands.asked)
        )
        try:
            # Whoever loses the lease stops the work.
            await asyncio.wait({beating, working}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await hands.end(self._outcome(working, hands))
        except asyncio.CancelledError:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await hands.give_back()
            raise
        finally:
            for task in (beating, working):
                task.cancel()
            await asyncio.gather(beating, working, return_exceptions=True)

    def _outcome(self, working: asyncio.Task[Outcome], hands: _Hands) -> Outcome | None:
        """What the work came to; None when the job is another's by now, or cannot be kept."""
        error = working.exception()
        if error is None:
            return working.result()
        if isinstance(error, Lost):
            return None
        if isinstance(error, StoreError):  # it goes on when its lease is over
            _log.warning("%s: the job's state cannot be kept: %s", hands.job.id, error)
            return None
        said = {"code": "internal_error", "param": None}
        said["message"] = f"an unforeseen error; the server's log has it under {hands.job.id}"
        if isinstance(error, FreeholdError):
            _log.warning("%s: the job failed: %s", hands.job.id, error)
            said = error_state(error)
        else:
            self._found(error, hands.job.id)
        told = Said(str(said["message"]), "error", {"code": said["code"]})
        return Outcome("failed", {**hands.state, "error": said}, (told,))


class _Hands:
    """A claimed job: its lease, its last state, what its owner asks for."""

    def __init__(self, house: House, worker: str, job: Job) -> None:
        self._jobs = house.store.jobs
        self._worker = worker
        self.job = job
        self.asked = job.asked
        self.state: Mapping[str, Any] = job.state

    async def beat(self) -> None:
        """Keeps the lease, and hears what is asked for, until the lease is lost."""
        looks = 0
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            looks += 1
            try:
                kept = await self._looked_up(renews=looks % _BEAT_EVERY_LOOKS == 0)
            except StoreError as error:
                _log.warning("%s: the lease cannot be renewed: %s", self.job.id, error)
                continue
            if kept is None:
                raise Lost(self.job.id)
            self.asked = kept.asked

    async def _looked_up(self, *, renews: bool) -> Job | None:
        if renews:
            return await asyncio.to_thread(self._jobs.beat, self.job.id, self._worker)
        return await asyncio.to_thread(self._jobs.get, self.job.id, owner=self.job.owner)

    async def tell(self, state: Mapping[str, Any] | None, *say: Said) -> None:
        kept = await asyncio.to_thread(self._jobs.beat, self.job.id, self._worker, state, say=say)
        if kept is None:
            raise Lost(self.job.id)
        self.state, self.asked = kept.state, kept.asked

    async def end(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            await asyncio.to_thread(
                self._jobs.finish,
                self.job.id,
                self._worker,
                outcome.status,
                outcome.state,
                say=outcome.say,
            )

    async def give_back(self) -> None:
        await asyncio.to_thread(self._jobs.finish, self.job.id, self._worker, "queued")


def error_state(error: FreeholdError) -> dict[str, Any]:
    """An error as a job keeps it: in the words that a client would be told."""
    said = error_body("openai", error)["error"]
    # What is wrong with a training is its owner's business; no place is named in it.
    owners = isinstance(error, TuneError | DiskFull)
    message = str(error) if owners else said["message"]
    return {"code": said["code"], "message": message, "param": said["param"]}


def _worker_of(home: Path) -> str:
    """The name of the one server of a home, the same in each of its lives."""
    place = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]
    return f"server-{place}@{socket.gethostname()}"
