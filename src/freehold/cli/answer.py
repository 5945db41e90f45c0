"""Follows one answer from the model to the terminal, and lets Ctrl-C end it well.

Room: cli. Knows the in-process face of the runtime; must not know how tokens are made.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from freehold.cli.entry import INTERRUPTED
from freehold.cli.printing import print_json, say, write_piece
from freehold.engine.sampler import Sampling

if TYPE_CHECKING:
    from freehold.local import Completion, Model, Stream

__all__ = ["SHOWN", "Asking", "SamplingFlags", "answer_once", "ask", "follow", "stats_line"]

# The parts of a sampling that flags and models speak of.
SHOWN = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How every question of this run is asked; `origin` says who chose each part of `sampling`."""

    system: str | None
    raw: bool
    sampling: Sampling
    max_tokens: int | None
    adapter: str | None = None
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """The sampling flags as they were given; None where one was not."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    seed: int | None

    def over(self, suggested: Mapping[str, Any]) -> tuple[Sampling, dict[str, str]]:
        """The settings, and for each where it is from: "flag", "model" or "default".

        A flag wins over what the model's maker recommends, this over the runtime's own value.
        Raises: BadSampling when a value is out of range.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        if "repetition_penalty" in given:  # then how far back it looks is not the model's to say
            suggested = {k: v for k, v in suggested.items() if k != "repetition_window"}
        origin = {
            f.name: "flag" if f.name in given else "model" if f.name in suggested else "default"
            for f in fields(Sampling)
        }
        return replace(Sampling(), **{**suggested, **given}), origin


def ask(model: Model, turns: Sequence[dict[str, str]], asking: Asking) -> Stream:
    """Open the stream of the answer to the last of `turns`."""
    if asking.raw:
        return model.generate(
            turns[-1]["content"],
            sampling=asking.sampling,
            max_tokens=asking.max_tokens,
            adapter=asking.adapter,
            stream=True,
        )
    first = [{"role": "system", "content": asking.system}] if asking.system else []
    return model.chat(
        [*first, *turns],
        sampling=asking.sampling,
        max_tokens=asking.max_tokens,
        adapter=asking.adapter,
        stream=True,
    )


def follow(stream: Stream, *, silent: bool = False) -> Completion:
    """Write the pieces as they come and return the completion, partial after one Ctrl-C.

    Raises: KeyboardInterrupt on a second Ctrl-C.
    """
    last = ""
    with _stopped_by_interrupt(stream):
        for piece in stream:
            if piece and not silent:
                write_piece(piece, to=sys.stdout)
                last = piece
    if last and not last.endswith("\n"):
        write_piece("\n", to=sys.stdout)
    return stream.completion


@contextmanager
def _stopped_by_interrupt(stream: Stream) -> Iterator[None]:
    pressed = 0

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        del number, frame
        pressed += 1
        if pressed > 1:
            raise KeyboardInterrupt
        stream.cancel()

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def answer_once(model: Model, text: str, asking: Asking, *, as_json: bool) -> int:
    """Answer one prompt and return the exit status: 0, or 130 when it was interrupted."""
    completion = follow(ask(model, [{"role": "user", "content": text}], asking), silent=as_json)
    stats = completion.stats
    if as_json:
        print_json(
            {
                "model": model.name,
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "prompt_tokens": stats.prompt_tokens,
                "generated_tokens": stats.generated_tokens,
                "prompt_tokens_per_s": round(stats.prompt_tokens_per_s, 2),
                "generated_tokens_per_s": round(stats.generated_tokens_per_s, 2),
                "sampling": {
                    name: {"value": getattr(asking.sampling, name), "from": origin}
                    for name, origin in asking.origin.items()
                    if name in SHOWN
                },
            }
        )
    say(stats_line(completion))
    return INTERRUPTED if completion.finish_reason == "cancelled" else 0


def stats_line(completion: Completion) -> str:
    """The last line of an answer: how much was read and written, and how fast."""
    stats = completion.stats
    line = f"prompt {stats.prompt_tokens} tokens {stats.prompt_tokens_per_s:.1f} tok/s"
    line += f" · generated {stats.generated_tokens} tokens"
    # The first token belongs to the prompt's time, so one token alone has no rate.
    if stats.generated_tokens > 1:
        line += f" {stats.generated_tokens_per_s:.1f} tok/s"
    reasons = {"length": " · stopped at the length limit", "cancelled": " · interrupted"}
    return line + reasons.get(completion.finish_reason, "")
