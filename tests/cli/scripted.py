"""A scripted model in place of the runtime: tests of the command line need no weights.

Run as a module it is the `freehold` command over that model: python -m tests.cli.scripted run ...
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import setitem
from pathlib import Path
from types import ModuleType

from freehold.engine.sampler import Sampling
from freehold.errors import PromptTooLong, UnknownModel
from freehold.loading import Suggested


@dataclass(frozen=True)
class Stats:
    prompt_tokens: int
    generated_tokens: int
    prompt_tokens_per_s: float = 100.0
    generated_tokens_per_s: float = 50.0


@dataclass(frozen=True)
class Completion:
    text: str
    finish_reason: str
    stats: Stats


@dataclass
class Stream:
    """Gives its pieces, slowly when told so, until cancelled."""

    pieces: Sequence[str]
    pause_s: float
    max_tokens: int | None
    given: list[str] = field(default_factory=list)
    cancelled: bool = False
    finished: bool = False

    def __iter__(self) -> Iterator[str]:
        for piece in self.pieces[: self.max_tokens]:
            time.sleep(self.pause_s)
            if self.cancelled:
                break
            self.given.append(piece)
            yield piece
        self.finished = True

    def cancel(self) -> None:
        # FREEHOLD_SCRIPT_STUBBORN stands for a step so long that the first Ctrl-C is not seen yet;
        # it names the file that then appears.
        note = os.environ.get("FREEHOLD_SCRIPT_STUBBORN")
        self.cancelled = note is None
        if note is not None:
            Path(note).touch()

    @property
    def completion(self) -> Completion:
        assert self.finished, "the completion is there only after the last piece"
        whole = len(self.given) == len(self.pieces)
        reason = "cancelled" if self.cancelled else "stop" if whole else "length"
        return Completion("".join(self.given), reason, Stats(7, len(self.given)))


def by(adapter: str | None) -> dict[str, object]:
    """What tells that an adapter was named."""
    return {} if adapter is None else {"adapter": adapter}


class Model:
    """Answers with what it was asked, so that tests see what arrived."""

    name = "scripted"
    context_tokens = 64
    report = None  # nothing was rounded on the way

    def __init__(self, **loading: object) -> None:
        self.loading = loading
        self.suggested = Suggested(**json.loads(os.environ.get("FREEHOLD_SCRIPT_SUGGESTED", "{}")))

    def chat(
        self,
        messages: list[dict[str, str]],
        *,
        sampling: Sampling,
        max_tokens: int | None,
        adapter: str | None,
        stream: bool,
    ) -> Stream:
        return self._stream({"messages": messages} | by(adapter), sampling, max_tokens)

    def generate(
        self,
        prompt: str,
        *,
        sampling: Sampling,
        max_tokens: int | None,
        adapter: str | None,
        stream: bool,
    ) -> Stream:
        return self._stream({"raw": prompt} | by(adapter), sampling, max_tokens)

    def _stream(
        self, asked: dict[str, object], sampling: Sampling, max_tokens: int | None
    ) -> Stream:
        if len(json.dumps(asked)) > 400:
            raise PromptTooLong(
                "the prompt does not fit the context",
                expected="at most 64 tokens",
                found="99 tokens",
                hint="a larger --context",
            )
        pieces = os.environ.get("FREEHOLD_SCRIPT", "").split("|")
        if pieces == [""]:
            asked |= {"temperature": sampling.temperature, "seed": sampling.seed, **self.loading}
            pieces = [json.dumps(asked)]
        pause_s = float(os.environ.get("FREEHOLD_SCRIPT_PAUSE", "0"))
        return Stream(pieces, pause_s, max_tokens)


def load(
    ref: str | Path,
    *,
    context_tokens: int | None = None,
    threads: int | None = None,
    kv_bits: int = 16,
    adapters: Mapping[str, Path] | None = None,
    adapter_bits: int = 8,
    speculation: bool = True,
) -> Model:
    assert kv_bits == 16
    assert adapter_bits == 8
    assert speculation
    assert all(name == str(path) for name, path in (adapters or {}).items())
    if ref == "broken":
        raise ZeroDivisionError("a secret prompt")
    if ref == "missing":
        raise UnknownModel("no such model", value=ref, expected="starter", hint="freehold list")
    return Model(context_tokens=context_tokens, threads=threads)


@dataclass(frozen=True)
class Measurement:
    test: str
    prompt: int
    generate: int
    batch: int
    depth: int
    threads: int
    isa: str
    repeats: int
    tokens_per_s: float


def measure(
    model: Model, *, prompt: int, generate: int, batch: int, depth: int, repeats: int
) -> Iterator[Measurement]:
    if prompt:
        yield Measurement("prefill", prompt, 0, batch, depth, 2, "generic", repeats, 123.456)
    if generate:
        yield Measurement("decode", 0, generate, batch, depth, 2, "generic", repeats, 12.5)


def install(put: Callable[..., None] = setattr, put_item: Callable[..., None] = setitem) -> None:
    """Put the scripted model where the command line will look for the runtime."""
    import freehold
    import freehold.engine
    import freehold.engine.measure
    import freehold.library.gate
    import freehold.local

    local = ModuleType("freehold.local")
    local.load_chat = load  # type: ignore[attr-defined]
    timing = ModuleType("freehold.engine.measure")
    timing.measure = measure  # type: ignore[attr-defined]
    put_item(sys.modules, "freehold.local", local)
    put_item(sys.modules, "freehold.engine.measure", timing)
    put(freehold, "local", local)
    put(freehold.engine, "measure", timing)
    # It is no file and in no catalogue, so nothing could be known of its terms.
    put(freehold.library.gate, "require", lambda ref, use, *, settings: None)


if __name__ == "__main__":
    install()
    from freehold.cli import main

    main()
