"""An engine's own process: loads one model, then takes requests from a socket until it closes.

Room: engine. One thread: read what came, step, write what came of it. Must not know HTTP or text.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from freehold import ops
from freehold.engine import wire
from freehold.engine.adapter_loads import AdapterLoads
from freehold.engine.embedding import Embedder
from freehold.engine.engine import Engine
from freehold.engine.matcher import Matchers
from freehold.engine.request import Output
from freehold.engine.runner import Runner, slot_bytes
from freehold.errors import BadSetting, FreeholdError
from freehold.loading import load_model, read_text_side
from freehold.loading.embedders import load_embedder
from freehold.models.base import Model

__all__ = ["Outgoing", "main"]

_STATS_S = 0.25  # between two reports of what runs
_FEWEST_PAGES = 4
_FEWEST_SLOTS = 2
_MOST_SNAPSHOTS = 64  # of recurrent states, beside those that run
_READ_BYTES = 1 << 18
_LOADING_WAIT_S = 0.005  # for an adapter, before looking at what came meanwhile
# Tokens this close together are sent together, a request's as one: nobody sees them apart, a screen
# shows 60 pictures a second, and to be woken for each costs the server more than to read it.
_TOGETHER_S = 1 / 60


class _LinkClosedError(Exception):
    """The server closed its end."""


class _Link:
    """The socket to the server, as frames."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = wire.Frames()
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def send(self, message: dict[str, Any], tail: bytes = b"") -> None:
        try:
            self._connection.sendall(wire.frame(message, tail))
        except OSError as error:
            raise _LinkClosedError from error

    def receive(self, *, wait: bool) -> list[dict[str, Any]]:
        """The messages that have come; with `wait`, at least one. Raises: _LinkClosedError."""
        messages: list[dict[str, Any]] = []
        while wait or self._poll.poll(0):
            data = self._connection.recv(_READ_BYTES)
            if not data:
                raise _LinkClosedError
            messages += [message for message, _ in self._frames.push(data)]
            wait = wait and not messages
        return messages


class Outgoing:
    """What requests got from steps, on its way: at once, or where steps are fast a few together."""

    def __init__(
        self, send: Callable[[dict[str, Any]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send, self._clock = send, clock
        self._held: list[list[Any]] = []
        self._last: dict[str, list[Any]] = {}  # of each request, among those held
        self._sent_s = -_TOGETHER_S

    def add(self, outputs: list[tuple[str, Output]], step_s: float) -> None:
        """Sends these, unless the next step, as long as this one, may still add to them.

        An answer's first token and its end wait for nothing.
        """
        for name, output in outputs:
            short = wire.output_to(name, output)
            last = self._last.get(name)
            if last is not None and len(last) == len(short) == 2:  # tokens and nothing else
                last[1] += short[1]
            else:
                self._held.append(short)
                self._last[name] = short
        urgent = any(output.first or output.finish_reason for _, output in outputs)
        if urgent or self._clock() + step_s - self._sent_s > _TOGETHER_S:
            self.send()

    def send(self) -> None:
        """Sends what there is."""
        if self._held:
            self._send({"outputs": self._held})
            self._held = []
            self._last = {}
            self._sent_s = self._clock()


def _engine(settings: dict[str, Any]) -> tuple[Engine, AdapterLoads]:
    if settings["threads"] is not None:
        ops.set_threads(settings["threads"])
    loaded = load_model(Path(settings["path"]))
    kv_bits = settings["kv_bits"]
    slots = _slots(loaded.model, settings["kv_bytes"], settings["max_running"])
    left_bytes = settings["kv_bytes"] - slots * slot_bytes(loaded.model)
    tokens = _kv_tokens(loaded.model, left_bytes, kv_bits)
    runner = Runner(loaded.model, tokens=tokens, kv_bits=kv_bits, slots=slots)
    text = read_text_side(loaded.path, loaded.metadata)
    matchers = Matchers(text.tokenizer, loaded.model.vocabulary)
    engine = Engine(
        runner,
        max_running=settings["max_running"],
        max_waiting=settings["max_waiting"],
        matchers=matchers.new,
        speculates=settings.get("speculates", True),
    )
    loads = AdapterLoads(loaded, engine.adapters, bits=settings.get("adapter_bits", 8))
    for name, path in settings.get("adapters", {}).items():
        loads.load_now(name, path)
    return engine, loads


def _slots(model: Model, kv_bytes: int, max_running: int) -> int:
    """How many recurrent states there is room for in half of the KV cache's memory.

    Raises: BadSetting when that is not one to run and one to remember.
    """
    each_bytes = slot_bytes(model)
    if each_bytes == 0:
        return 0
    if kv_bytes // 2 < _FEWEST_SLOTS * each_bytes:
        raise BadSetting(
            "the memory for the KV cache is too small for this model's recurrent states",
            value=kv_bytes,
            expected=f"at least {2 * _FEWEST_SLOTS * each_bytes} bytes",
            found=f"{kv_bytes} bytes",
            hint="give it more with --kv-memory or FREEHOLD_KV_MEMORY",
        )
    return min(kv_bytes // 2 // each_bytes, max_running + _MOST_SNAPSHOTS)


def _kv_tokens(model: Model, kv_bytes: int, kv_bits: int) -> int:
    """How many tokens the KV cache's memory holds. Raises: BadSetting when it is too few."""
    page_bytes = ops.KvPool(model.kv_spec().layers, 1, kv_bits).page_bytes
    pages = kv_bytes // page_bytes
    if pages < _FEWEST_PAGES:
        raise BadSetting(
            "the memory for the KV cache is too small for this model",
            value=kv_bytes,
            expected=f"at least {_FEWEST_PAGES * page_bytes} bytes",
            found=f"{kv_bytes} bytes",
            hint="give it more with --kv-memory or FREEHOLD_KV_MEMORY",
        )
    return int(pages) * ops.PAGE_TOKENS


def _context(model: Model, asked: int | None, kv_tokens: int) -> int:
    """The longest sequence: the model's own or what was asked, within the KV cache."""
    if asked is not None and asked > min(model.context_tokens, kv_tokens):
        raise BadSetting(
            "the context does not suit this model and its KV cache",
            value=asked,
            expected=f"at most {min(model.context_tokens, kv_tokens)} tokens",
            found=str(asked),
            hint="leave it out, or give the KV cache more memory",
        )
    return asked or min(model.context_tokens, kv_tokens)


def _embedder(settings: dict[str, Any]) -> tuple[Embedder, dict[str, Any]]:
    if settings["threads"] is not None:
        ops.set_threads(settings["threads"])
    loaded = load_embedder(Path(settings["path"]), precision=settings["precision"])
    sentence = loaded.plan.sentence
    embedder = Embedder(
        loaded.encoder,
        pooling=sentence.pooling,
        normalise=sentence.normalise,
        max_tokens=sentence.max_tokens,
    )
    facts = {
        "vocabulary": loaded.plan.vocabulary,
        "context_tokens": embedder.max_tokens,
        "width": embedder.width,
        "precision": loaded.precision,
        "parameters": loaded.parameters,
    }
    return embedder, facts


def _serve_embedder(embedder: Embedder, link: _Link) -> None:
    while True:
        for message in link.receive(wait=True):
            name = message["embed"]
            try:
                vectors = embedder.embed(message["texts"])  # (N, D)
            except FreeholdError as error:
                link.send({"refused": name, "error": wire.error_to(error)})
            else:
                link.send({"accepted": name}, vectors.tobytes())


def _take(engine: Engine, loads: AdapterLoads, message: dict[str, Any], link: _Link) -> None:
    """Does what one message says."""
    if "cancel" in message:
        engine.cancel(message["cancel"])
        return
    if "load_adapter" in message:
        loads.begin(message["load_adapter"], message["path"])
        return
    if "unload_adapter" in message:
        engine.adapters.remove(message["unload_adapter"])
        return
    request = wire.request_from(message["submit"])
    try:
        engine.submit(request)
    except FreeholdError as error:
        link.send({"refused": request.id, "error": wire.error_to(error)})
    else:
        link.send({"accepted": request.id})


def _serve(engine: Engine, loads: AdapterLoads, link: _Link) -> None:
    reported = 0.0
    outgoing = Outgoing(link.send)
    while True:
        idle = not engine.has_work and not loads.pending
        if idle or time.monotonic() - reported > _STATS_S:
            link.send({"stats": vars(engine.stats())})
            reported = time.monotonic()
        for message in link.receive(wait=idle):
            outgoing.send()  # what comes may make the next step long
            _take(engine, loads, message, link)
        if loads.pending:
            loads.settle(link.send, wait_s=0.0 if engine.has_work else _LOADING_WAIT_S)
        started = time.monotonic()
        outputs = engine.step()
        outgoing.add(outputs, time.monotonic() - started)


def _loaded(settings: dict[str, Any]) -> tuple[Callable[[_Link], None], dict[str, Any]]:
    """What serves the model, and the facts its client is told."""
    if settings["kind"] == "embedding":
        embedder, facts = _embedder(settings)
        return partial(_serve_embedder, embedder), facts
    engine, loads = _engine(settings)
    room = engine.runner.pages.count * ops.PAGE_TOKENS
    facts = {
        "vocabulary": engine.runner.model.vocabulary,
        "context_tokens": _context(engine.runner.model, settings["context_tokens"], room),
        "kv_tokens": room,
        "kv_bits": settings["kv_bits"],
        "adapter_bytes": engine.adapters.bytes,
        "adapter_failures": {
            name: wire.error_to(error) for name, error in engine.adapters.failures.items()
        },
    }
    return partial(_serve, engine, loads), facts


def main() -> None:
    """Runs until the server closes the socket, whose descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to act on
    connection = socket.socket(fileno=int(sys.argv[1]))
    link = _Link(connection)
    with contextlib.suppress(_LinkClosedError):
        (settings,) = link.receive(wait=True)
        try:
            serve, facts = _loaded(settings)
        except FreeholdError as error:
            link.send({"failed": wire.error_to(error)})
            return
        gc.collect()
        gc.freeze()  # the model's objects live as long as the process
        machine = {"isa": ops.isa_name(), "threads": ops.threads(), "pid": os.getpid()}
        link.send({"ready": facts | machine})
        serve(link)


if __name__ == "__main__":
    main()
