"""The server's end of an engine's process: starts it, talks to it, and brings it back.

Room: engine. Runs on the server's event loop; knows requests and outputs, not text or HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from freehold.engine import wire
from freehold.engine.inbox import Inbox
from freehold.engine.request import EngineStats, Output, Request
from freehold.errors import EngineDied, FreeholdError, ModelLoading

__all__ = ["EngineProcess", "Outputs"]

_READY_WAIT_S = 10.0  # how long a request waits for an engine that is coming back
_BACKOFF_S = (0.0, 0.2, 1.0, 3.0, 10.0)
_END_WAIT_S = 5.0


class Outputs:
    """What comes of one or several requests, as it comes: (branch, output) pairs."""

    def __init__(self, engine: EngineProcess) -> None:
        self._engine = engine
        self._inbox: Inbox[tuple[int, Output] | FreeholdError] = Inbox()
        self._open: dict[str, int] = {}  # request id -> branch

    async def submit(self, request: Request) -> None:
        """Adds a request, whose outputs carry its branch. Raises: the engine's refusal."""
        await self._engine.submit(request, self)

    async def next(self) -> tuple[int, Output]:
        """The next output. Raises: EngineDied when the engine ended meanwhile."""
        item = await self._inbox.next()
        if isinstance(item, FreeholdError):
            raise item
        return item

    def cancel(self, branch: int | None = None) -> None:
        """Gives up one branch, or all."""
        for name, its in list(self._open.items()):
            if branch is None or its == branch:
                del self._open[name]
                self._engine.cancel(name)

    def opened(self, request: Request) -> None:
        """Called by the engine's end: the request is under way."""
        self._open[request.id] = request.branch

    def put(self, name: str, output: Output) -> None:
        """Called by the engine's end with each output."""
        branch = self._open.get(name)
        if branch is None:
            return
        if output.finish_reason is not None:
            del self._open[name]
        self._inbox.put((branch, output))

    def fail(self, error: FreeholdError) -> None:
        """Called by the engine's end when nothing more will come."""
        self._open.clear()
        self._inbox.put(error)


class _Link(asyncio.Protocol):
    """Hears what the process says as it comes: a task that reads would be woken for each token."""

    def __init__(self, hear: Callable[[dict[str, Any], bytes], None]) -> None:
        self._hear = hear
        self._frames = wire.Frames()
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        for message, tail in self._frames.push(data):
            self._hear(message, tail)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.ended.done():
            self.ended.set_result(None)


@dataclass
class _Life:
    """One run of the process."""

    process: asyncio.subprocess.Process
    link: _Link
    transport: asyncio.WriteTransport


class EngineProcess:
    """A model in a process of its own. When it dies, its requests fail and it is started again."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.info: dict[str, Any] = {}
        self.restarts = 0
        self.adapter_bytes: dict[str, int] = {}
        self._stats = EngineStats()
        self._life: _Life | None = None
        self._ready = asyncio.Event()
        self._failed: FreeholdError | None = None
        self._accepting: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._outputs: dict[str, Outputs] = {}
        self._watching: asyncio.Task[None] | None = None
        self._closing = False
        self._why: FreeholdError | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return None if self._life is None else self._life.process.pid

    @property
    def stats(self) -> EngineStats:
        """What the engine last said of itself."""
        return replace(self._stats, engine_restarts_total=self.restarts)

    async def start(self) -> None:
        """Starts the process and waits for its model. Raises: what loading raised, EngineDied."""
        await self._begin()
        self._watching = asyncio.create_task(self._watch())
        await self._ready.wait()
        if self._failed is not None:
            await self.close()
            raise self._failed

    async def call(self, message: dict[str, Any], name: str) -> dict[str, Any] | None:
        """Sends a message and waits for the answer to `name`. Raises: the error that came back."""
        await self._wait_ready()
        answered: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._accepting[name] = answered
        self._send(message)
        try:
            return await answered
        finally:
            self._accepting.pop(name, None)

    async def submit(self, request: Request, outputs: Outputs) -> None:
        """Hands a request to the engine. Raises: QueueFull and what else it says, EngineDied."""
        await self._wait_ready()
        self._outputs[request.id] = outputs
        outputs.opened(request)
        try:
            await self.call({"submit": wire.request_to(request)}, request.id)
        except BaseException:
            self.cancel(request.id)
            raise

    def cancel(self, name: str) -> None:
        """Forgets a request."""
        if self._outputs.pop(name, None) is not None and self._life is not None:
            self._send({"cancel": name})

    async def load_adapter(self, name: str, path: str) -> None:
        """Gives the model an adapter, under an id never used before.

        A process that is started again loads it again. Raises: what loading it raised, EngineDied.
        """
        reply = await self.call({"load_adapter": name, "path": path}, f"adapter-{name}")
        assert reply is not None, "an adapter was loaded without its size"
        self.settings.setdefault("adapters", {})[name] = path
        self.adapter_bytes[name] = reply["bytes"]

    def unload_adapter(self, name: str) -> None:
        """Takes an adapter away; requests that use it end first."""
        self.settings.get("adapters", {}).pop(name, None)
        self.adapter_bytes.pop(name, None)
        self._send({"unload_adapter": name})

    async def close(self, why: FreeholdError | None = None) -> None:
        """Ends the process; open requests fail, with `why` where it is said."""
        self._closing, self._why = True, why
        life = self._life
        if life is not None:
            life.transport.close()
            try:
                await asyncio.wait_for(life.process.wait(), _END_WAIT_S)
            except TimeoutError:
                life.process.kill()
                await life.process.wait()
        if self._watching is not None and self._watching is not asyncio.current_task():
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    async def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        process: asyncio.subprocess.Process | None = None
        try:
            with theirs:
                process = await _spawned(theirs.fileno())
            loop = asyncio.get_running_loop()
            transport, link = await loop.create_connection(lambda: _Link(self._hear), sock=ours)
        except BaseException:  # a loading that nobody waits for any more is cancelled in here
            ours.close()
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            raise
        self._life = _Life(process, link, transport)
        transport.write(wire.frame(self.settings))

    async def _watch(self) -> None:
        """Reads what the engine says; when it dies, fails its requests and starts it again."""
        failures = 0
        while True:
            life = self._life
            assert life is not None
            await life.link.ended
            failures = 0 if self._ready.is_set() and self._failed is None else failures + 1
            code = await self._bury(life)
            if self._closing or self._failed is not None:
                self._ready.set()
                return
            if failures >= len(_BACKOFF_S):
                self._failed = _died(code, "it ends again and again; look at its memory")
                self._ready.set()
                return
            await asyncio.sleep(_BACKOFF_S[failures])
            self.restarts += 1
            await self._begin()

    async def _bury(self, life: _Life) -> int | None:
        """Takes leave of a process: everybody who waits on it is told. Returns its exit code."""
        self._ready.clear()
        self._life = None
        life.transport.close()
        if life.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                life.process.kill()
        code = await life.process.wait()
        self._stats = EngineStats()
        error = self._why or _died(code, "send the request again")
        for answered in self._accepting.values():
            if not answered.done():
                answered.set_exception(error)
        # One request may have several branches; it hears of the end once.
        for outputs in dict.fromkeys(self._outputs.values()):
            outputs.fail(error)
        self._outputs.clear()
        return code

    def _hear(self, message: dict[str, Any], tail: bytes) -> None:
        if "outputs" in message:
            for short in message["outputs"]:
                name, output = wire.output_from(short)
                outputs = self._outputs.get(name)
                if outputs is not None:
                    outputs.put(name, output)
                    if output.finish_reason is not None:
                        del self._outputs[name]
        elif "stats" in message:
            self._stats = EngineStats(**message["stats"])
        elif "accepted" in message:
            more = tail or len(message) > 1
            self._settle(message["accepted"], {**message, "tail": tail} if more else None)
        elif "refused" in message:
            self._settle(message["refused"], wire.error_from(message["error"]))
        elif "ready" in message:
            self.info = message["ready"]
            self.adapter_bytes = self.info.get("adapter_bytes", {})
            self._ready.set()
        else:
            self._failed = wire.error_from(message["failed"])

    def _settle(self, name: str, result: dict[str, Any] | FreeholdError | None) -> None:
        answered = self._accepting.get(name)
        if answered is None or answered.done():
            return
        if isinstance(result, FreeholdError):
            answered.set_exception(result)
        else:
            answered.set_result(result)

    async def _wait_ready(self) -> None:
        try:
            await asyncio.wait_for(self._ready.wait(), _READY_WAIT_S)
        except TimeoutError:
            raise ModelLoading(
                "the model is still being loaded",
                retry_after_s=2.0,
                hint="ask again in a moment",
            ) from None
        if self._failed is not None:
            raise self._failed
        if self._closing or self._life is None:
            raise _died(None, "the model was unloaded; ask again")

    def _send(self, message: dict[str, Any]) -> None:
        if self._life is not None:
            self._life.transport.write(wire.frame(message))


async def _spawned(descriptor: int) -> asyncio.subprocess.Process:
    """The engine's process, at the other end of a socket."""
    # -P: a file in the working directory must not be taken for a module.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "freehold.engine.worker",
        str(descriptor),
        pass_fds=(descriptor,),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )


def _died(code: int | None, hint: str) -> EngineDied:
    return EngineDied(
        "the process that runs the model ended",
        value=code,
        found="it was stopped" if code is None else f"exit code {code}",
        retry_after_s=1.0,
        hint=hint,
    )
