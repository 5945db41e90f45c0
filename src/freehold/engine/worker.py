"""An engine's own process: loads one model, then takes requests from a socket until it closes.

Room: engine. One thread: read what came, step, write what came of it. Must not know HTTP or text.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from freehold import ops
from freehold.engine import wire
from freehold.engine.engine import Engine
from freehold.engine.runner import Runner
from freehold.errors import FreeholdError

__all__ = ["main"]

_STATS_S = 0.25  # between two reports of what runs
_READ_BYTES = 1 << 18


class _Gone(Exception):
    """The server closed its end."""


class _Link:
    """The socket to the server, as frames."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    def send(self, message: dict[str, Any], tail: bytes = b"") -> None:
        try:
            self._connection.sendall(wire.frame(message, tail))
        except OSError as error:
            raise _Gone from error

    def receive(self, *, wait: bool) -> list[dict[str, Any]]:
        """The messages that have come; with `wait`, at least one. Raises: _Gone."""
        messages: list[dict[str, Any]] = []
        while wait or select.select([self._connection], [], [], 0)[0]:
            data = self._connection.recv(_READ_BYTES)
            if not data:
                raise _Gone
            self._buffer += data
            messages += self._whole()
            wait = wait and not messages
        return messages

    def _whole(self) -> list[dict[str, Any]]:
        """The frames that the buffer holds whole. Mutates: the buffer."""
        messages, start, size = [], 0, wire.HEADER.size
        while len(self._buffer) - start >= size:
            text, _ = wire.header_lengths(bytes(self._buffer[start : start + size]))
            end = start + size + text
            if len(self._buffer) < end:
                break
            messages.append(json.loads(self._buffer[start + size : end]))
            start = end
        del self._buffer[:start]
        return messages


def _engine(settings: dict[str, Any]) -> Engine:
    from freehold.engine.matcher import Matchers
    from freehold.loading import load_gguf
    from freehold.tokenizer import tokenizer_from_gguf

    if settings["threads"] is not None:
        ops.set_threads(settings["threads"])
    loaded = load_gguf(Path(settings["path"]))
    runner = Runner(loaded.model, tokens=settings["kv_tokens"])
    matchers = Matchers(tokenizer_from_gguf(loaded.metadata), loaded.model.vocabulary)
    return Engine(
        runner,
        max_running=settings["max_running"],
        max_waiting=settings["max_waiting"],
        matchers=matchers.new,
    )


def _take(engine: Engine, message: dict[str, Any], link: _Link) -> None:
    """Does what one message says."""
    if "cancel" in message:
        engine.cancel(message["cancel"])
        return
    request = wire.request_from(message["submit"])
    try:
        engine.submit(request)
    except FreeholdError as error:
        link.send({"refused": request.id, "error": wire.error_to(error)})
    else:
        link.send({"accepted": request.id})


def _serve(engine: Engine, link: _Link) -> None:
    reported = 0.0
    while True:
        idle = not engine.has_work
        if idle or time.monotonic() - reported > _STATS_S:
            link.send({"stats": vars(engine.stats())})
            reported = time.monotonic()
        for message in link.receive(wait=idle):
            _take(engine, message, link)
        if outputs := engine.step():
            link.send({"outputs": [wire.output_to(name, output) for name, output in outputs]})


def main() -> None:
    """Runs until the server closes the socket, whose descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to act on
    connection = socket.socket(fileno=int(sys.argv[1]))
    link = _Link(connection)
    with contextlib.suppress(_Gone):
        (settings,) = link.receive(wait=True)
        try:
            engine = _engine(settings)
        except FreeholdError as error:
            link.send({"failed": wire.error_to(error)})
            return
        gc.collect()
        gc.freeze()  # the model's objects live as long as the process
        model = engine.runner.model
        ready = {"vocabulary": model.vocabulary, "isa": ops.isa_name(), "threads": ops.threads()}
        link.send({"ready": ready | {"pid": os.getpid(), "kv_tokens": settings["kv_tokens"]}})
        _serve(engine, link)


if __name__ == "__main__":
    main()
