"""Runs the server from its first socket to its last stream.

Room: server. Puts the parts together and takes them apart; must not know any surface or terminal.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from freehold import __version__
from freehold.config import Settings
from freehold.errors import BadSetting, FreeholdError, SetupError
from freehold.library.gate import require
from freehold.server.accounting import Accounting
from freehold.server.adapters import AdapterSpec
from freehold.server.app import Outside, create_app
from freehold.server.batches.running import Batches
from freehold.server.browsers import is_loopback
from freehold.server.connections import BoundedConnection
from freehold.server.context import House
from freehold.server.deployments import Deployments
from freehold.server.evaluations.running import EvalRuns
from freehold.server.jobs import Background
from freehold.server.listening import Listening, listen_at, listen_on
from freehold.server.logs import Log, LogForm
from freehold.server.metrics import Metrics
from freehold.server.residents import LoadedModel, Residents
from freehold.server.standing import announce, standing_server, withdraw
from freehold.server.tuning.running import Tunings
from freehold.server.tuning.served import name_again
from freehold.store import Store, open_store

__all__ = ["Started", "serve"]

_BATCHES = 4  # at once, however many wait
_EVAL_RUNS = 2
_LAST_WORDS_S = 3.0  # for streams to say why they end, when their time is up


@dataclass(frozen=True, kw_only=True)
class Started:
    """What is said once the server takes requests."""

    url: str
    socket: Path | None
    version: str
    needs_key: bool
    known: tuple[str, ...]
    models: tuple[LoadedModel, ...]

    def facts(self) -> dict[str, object]:
        """The same as one record."""
        models = [
            {
                "model": model.card.id,
                "context_tokens": model.context_tokens,
                "kv_tokens": model.kv_tokens,
                "memory_bytes": model.memory_bytes,
                "isa": model.isa,
                "threads": model.threads,
            }
            for model in self.models
        ]
        return {
            "url": self.url,
            "socket": None if self.socket is None else str(self.socket),
            "version": self.version,
            "needs_key": self.needs_key,
            "known": len(self.known),
            "models": models,
        }


def serve(
    settings: Settings,
    refs: Sequence[str] = (),
    *,
    adapters: Sequence[AdapterSpec] = (),
    socket: Path | None = None,
    on_start: Callable[[Started], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let open answers end; a second signal ends at once.

    `refs` are loaded at the start, all other models with their first request. `socket` takes the
    place of host and port.
    Raises: BadSetting for an address that cannot be used, or is open to others without a key;
    SetupError where this home has a server; UnknownModel; StoreUnusable; what the gate and loading
    raise.
    """
    _check_alone(settings.home)
    if socket is not None:
        # Who can open it is settled by the file system, as it is for loopback by the machine.
        settings = replace(settings, host="127.0.0.1")
    _check_terms(settings, refs)
    store = open_store(settings.database, settings.home)
    try:
        needs_key = _check_keys(settings, store)
        listening = listen_on(socket) if socket else listen_at(settings.host, settings.port)
        try:
            run = _Run(settings, refs, adapters, store, listening)
            announce(settings.home, url=listening.url, socket=socket, version=__version__)
            run.on_start = lambda: on_start(run.started(needs_key=needs_key))
            run.to_the_end()
        finally:
            withdraw(settings.home)
            listening.close()
    finally:
        store.close()


class _Run:
    """One life of the server."""

    def __init__(
        self,
        settings: Settings,
        refs: Sequence[str],
        adapters: Sequence[AdapterSpec],
        store: Store,
        listening: Listening,
    ) -> None:
        self._log = Log(_form(settings))
        self._listening = listening
        metrics = Metrics()
        accounting = Accounting(store.usage)
        self._deployments = Deployments(store.events, settings.home, url=listening.url)
        with _LibraryLogs(self._log):
            self._residents = Residents(
                settings=settings,
                refs=refs,
                adapters=adapters,
                observer=metrics,
                accounting=accounting,
                deployments=self._deployments,
            )
        metrics.watch(self._residents)
        house = House(
            settings=settings, residents=self._residents, store=store, accounting=accounting
        )
        self._house = house
        outside = Outside(log=self._log, metrics=metrics, origins=settings.allowed_origins)
        app = create_app(house, outside=outside)
        house.background = self._background = Background(
            house,
            {
                "batch": (Batches(outside.limits), _BATCHES),
                "eval_run": (EvalRuns(), _EVAL_RUNS),
                "fine_tuning": (Tunings(), 1),
            },
            regularly=self._rename,
            on_bug=lambda error, job: self._log.bug(error, request_id=job),
        )
        self._server = _Server(_config(app), house, outside, settings.drain_s)
        self._failed: FreeholdError | None = None
        self.on_start: Callable[[], None] = lambda: None

    def started(self, *, needs_key: bool) -> Started:
        """What is ready now."""
        return Started(
            url=self._listening.url,
            socket=self._listening.path,
            version=__version__,
            needs_key=needs_key,
            known=tuple(card.id for card in self._residents.cards()),
            models=tuple(self._residents.loaded()),
        )

    def to_the_end(self) -> None:
        """Serve. Raises: what loading raised."""
        with _LibraryLogs(self._log), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(self._serve())
            finally:
                self._deployments.close()
        if self._failed is not None:
            raise self._failed

    async def _serve(self) -> None:
        asyncio.get_running_loop().set_exception_handler(self._report)
        loading = asyncio.create_task(self._load())
        try:
            await self._server.serve(sockets=self._listening.sockets)
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await self._background.close()
            await self._residents.close()
        if not loading.cancelled():
            loading.result()

    async def _load(self) -> None:
        gc.collect()
        gc.freeze()  # what is imported stays; to look through it again would stop every stream
        try:
            await asyncio.to_thread(name_again, self._house)
            await self._rename()
            await self._residents.start()
            await self._background.start()
            self.on_start()
        except FreeholdError as error:
            self._failed = error
            self._server.should_exit = True
        except BaseException:
            self._server.should_exit = True
            raise

    async def _rename(self) -> None:
        """What each promoted name stands for now, whoever decided it."""
        current = await asyncio.to_thread(self._house.store.promotions.all_current)
        self._residents.alias({name: now.model for name, now in current.items()})

    def _report(self, loop: asyncio.AbstractEventLoop, facts: dict[str, Any]) -> None:
        """What no task waited for. asyncio's own words may quote values."""
        del loop
        error = facts.get("exception")
        if isinstance(error, BaseException):
            self._log.bug(error, request_id="-")


class _Server(uvicorn.Server):
    """uvicorn's server, with an end that lets streams finish and says so to new requests."""

    def __init__(
        self, config: uvicorn.Config, house: House, outside: Outside, drain_s: float
    ) -> None:
        super().__init__(config)
        self._house = house
        self._log = outside.log
        self._traffic = outside.traffic
        self._drain_s = drain_s
        self._drained_by = 0.0
        self._cut_by = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, the second one is it."""
        del sig, frame
        if self._house.draining:
            self.should_exit = self.force_exit = True
            return
        self._house.draining = True
        self._drained_by = time.monotonic() + self._drain_s

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether the end has come."""
        if not self._house.draining:
            return await super().on_tick(counter)
        if not self._drained_by or self.should_exit or not self._traffic.in_flight:
            return True
        now = time.monotonic()
        if self._cut_by:
            return now > self._cut_by
        if now > self._drained_by:
            self._log.event("drain", {"cut_off": self._traffic.in_flight})
            self._cut_by = now + _LAST_WORDS_S
            # Open answers end with an error, which their streams still say.
            await self._house.residents.close()
        return False


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Addresses come from the connection; no header of a proxy is believed.
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )


class _LibraryLogs(logging.Handler):
    """Sends what libraries and the store log to the server's log, while it runs.

    uvicorn's is left out: it quotes exceptions, which the front has written down without words.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._server = logging.getLogger("uvicorn")

    def __enter__(self) -> _LibraryLogs:
        logging.getLogger("freehold").addHandler(self)
        self._server.addHandler(logging.NullHandler())
        self._server.propagate = False
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger("freehold").removeHandler(self)
        self._server.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        """One line of Freehold's own modules."""
        facts = {"from": record.name, "message": record.getMessage()}
        self._log.event(record.levelname.lower(), facts)


def _check_alone(home: Path) -> None:
    standing = standing_server(home)
    if standing is not None:
        raise SetupError(
            f"a server runs for this home already: {standing.url}",
            value=str(home),
            found=f"process {standing.pid}",
            hint="`freehold stop` ends it; FREEHOLD_HOME names another home",
        )


def _check_terms(settings: Settings, refs: Sequence[str]) -> None:
    """Raises: what the gate raises for a model that is to be served."""
    with _LibraryLogs(Log(_form(settings))):
        for ref in refs:
            require(ref, "serve", settings=settings)


def _form(settings: Settings) -> LogForm:
    return "json" if settings.log_format == "json" else "text"


def _check_keys(settings: Settings, store: Store) -> bool:
    """Whether a key is asked for. Raises: BadSetting for an open address that has none."""
    keys = store.keys.list()
    now = time.time()
    if not is_loopback(settings.host) and not any(key.state(now) == "valid" for key in keys):
        raise BadSetting(
            f"{settings.host} can be reached by others, and there is no key to keep them out",
            value=settings.host,
            expected="a loopback address, or a key",
            found="a store without a valid key",
            hint="`freehold keys create NAME`, then serve again",
        )
    return bool(keys)
