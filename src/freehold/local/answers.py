"""An answer of a model in this process: its counts, its text, and how it grows.

Room: local. Must not know how tokens are computed.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass

__all__ = ["Completion", "Stats", "Stream"]


@dataclass(frozen=True)
class Stats:
    """Counts and seconds of one answer; the prompt's time ends with the first token's logits."""

    prompt_tokens: int
    generated_tokens: int
    prompt_s: float
    generate_s: float

    @property
    def prompt_tokens_per_s(self) -> float:
        """Prompt tokens over the time to the first token."""
        return self.prompt_tokens / self.prompt_s if self.prompt_s > 0 else 0.0

    @property
    def generated_tokens_per_s(self) -> float:
        """Tokens after the first over the time they took."""
        return (self.generated_tokens - 1) / self.generate_s if self.generate_s > 0 else 0.0


@dataclass(frozen=True)
class Completion:
    """An answer: its text and why it ended ("stop", "length" or "cancelled")."""

    text: str
    token_ids: list[int]
    finish_reason: str
    stats: Stats


class Stream:
    """An answer as it grows: iterate for pieces of text, then read `completion`.

    Not for sharing between threads, except `cancel`, which any thread or signal handler may call.
    """

    def __init__(
        self, pieces: Generator[str, None, Completion], cancelled: threading.Event
    ) -> None:
        self._pieces = pieces
        self._cancelled = cancelled
        self._completion: Completion | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration as end:
            if end.value is not None:
                self._completion = end.value
            raise StopIteration from None

    def cancel(self) -> None:
        """Ends the answer after the token in progress."""
        self._cancelled.set()

    def close(self) -> None:
        """Gives up the answer and its memory."""
        self._pieces.close()

    @property
    def completion(self) -> Completion:
        """The whole answer; available once iteration has ended."""
        if self._completion is None:
            raise RuntimeError("the stream has not ended: iterate it first")
        return self._completion
