"""`freehold` over scripted residents: a server in a process of its own, without weights.

`python -m tests.server.scripted_serving serve --port 0`. Its one model writes as many pieces as a
request's max_tokens, one each SCRIPT_PIECE_S seconds; the second one on not before there is a file
`go-on` in its home, under SCRIPT_HELD. SCRIPT_LOAD_S says how long loading takes, SCRIPT_FAILS
that it fails, SCRIPT_HEAD_S and SCRIPT_BODY_S how long its headers and body may take.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from freehold.errors import Draining, LoadError
from freehold.server.ask import Ask, Event, Finish, TextDelta, Usage
from freehold.server.context import Asker
from tests.server.scripted import MODEL, ScriptedAnswer, ScriptedResident, ScriptedResidents
from tests.waiting import PATIENCE_S, soon

ROOT = Path(__file__).resolve().parents[2]
BUG = "a text that no log may hold"
GO_ON = Path(os.environ.get("FREEHOLD_HOME", "")) / "go-on"


def setting(name: str, default: float) -> float:
    return float(os.environ.get(f"SCRIPT_{name}", default))


class SlowAnswer(ScriptedAnswer):
    """Takes its time, and ends with an error when the residents are closed."""

    house: Residents

    begun = False

    async def __anext__(self) -> Event:
        await asyncio.sleep(setting("PIECE_S", 0.02))
        while self.begun and setting("HELD", 0) and not GO_ON.exists():
            await asyncio.sleep(0.02)
        self.begun = True
        if self.house.closed:
            raise Draining("the server shut down before the answer was whole")
        return await super().__anext__()


class SlowResident(ScriptedResident):
    house: Residents

    async def answer(self, ask: Ask, asker: Asker) -> ScriptedAnswer:
        if ask.messages is not None and ask.messages[-1]["content"] == BUG:
            raise ValueError(BUG)
        count = ask.max_tokens or 1
        events: list[Event] = [TextDelta(0, f"{number} ") for number in range(count)]
        events += [Finish(0, "length"), Usage(prompt_tokens=3, completion_tokens=count)]
        answer = SlowAnswer(events)
        answer.house = self.house
        return answer


class Residents(ScriptedResidents):
    """What the server makes in place of the real ones, with their arguments."""

    closed = False

    def __init__(
        self,
        *,
        settings: object,
        refs: object,
        adapters: object,
        observer: object,
        accounting: object,
        deployments: object,
    ):
        super().__init__(SlowResident())
        assert isinstance(self.resident, SlowResident)
        self.resident.house = self
        self.ready = False

    async def start(self) -> None:
        await asyncio.sleep(setting("LOAD_S", 0))
        if setting("FAILS", 0):
            raise LoadError("it does not load", family="scripted")
        self.ready = True

    def loaded(self) -> list[Any]:
        (model,) = super().loaded()
        vars(model).update(isa="generic", threads=1, kv_tokens=4096)
        return [model] if self.ready else []

    async def close(self) -> None:
        await super().close()
        self.closed = True


@dataclass
class Served:
    """A server process, and how to speak with it."""

    process: subprocess.Popen[str]
    home: Path
    started: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.started["url"])

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def draining(self) -> None:
        """Waits until it lets its answers end and takes no more."""
        with self.client() as client:
            soon(lambda: client.get("/health").json()["status"] == "draining", "the drain")

    def ended(self) -> tuple[int, str]:
        """Its exit status and what it still wrote to stderr."""
        _, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, err


def chat_body(pieces: int = 1, *, text: str = "count", stream: bool = False) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "messages": messages, "max_tokens": pieces, "stream": stream}


def command_of(args: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "tests.server.scripted_serving", *args]


def begin(home: Path, *args: str, **script: float) -> subprocess.Popen[str]:
    """Start `freehold serve` over the script; `script` has SCRIPT_ values by their short names."""
    values = {f"SCRIPT_{name.upper()}": str(value) for name, value in script.items()}
    return subprocess.Popen(
        command_of(["serve", "--port", "0", "--log-format", "json", *args]),
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "FREEHOLD_HOME": str(home), "PYTHONWARNINGS": "error", **values},
        text=True,
    )


@contextmanager
def served(home: Path, *args: str, **script: float) -> Iterator[Served]:
    """A server that has started; ended by force if the test did not end it."""
    with begin(home, *args, **script) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("{"), line + process.stderr.read()
            yield Served(process, home, json.loads(line))
        finally:
            process.kill()


if __name__ == "__main__":
    from freehold.cli import main
    from freehold.server import app, bodies, connections, serving

    vars(serving)["Residents"] = Residents
    connections.HEAD_S = setting("HEAD_S", connections.HEAD_S)
    limits = bodies.Limits(body_s=setting("BODY_S", bodies.Limits.body_s))
    vars(serving)["Outside"] = partial(app.Outside, limits=limits)
    main()
