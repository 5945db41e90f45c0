"""What the servers are asked: short prompts that differ from their first word, and long talks.

Room: benchmarks. The same for both sides and for every run of the same seed.
"""

from __future__ import annotations

import random
from typing import Any

__all__ = ["long_talk", "question", "request"]

_SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
_WORDS = (
    "river", "stone", "bread", "winter", "garden", "window", "paper", "market", "island", "bridge",
    "copper", "forest", "letter", "kitchen", "summer", "harbour", "engine", "valley", "mirror",
    "candle", "orchard", "meadow", "village", "ladder", "basket", "station", "silver", "thunder",
    "blanket", "painter", "ocean", "shadow", "farmer", "castle", "pocket", "lantern", "hammer",
    "morning", "planet", "rabbit", "carpet", "flower", "doctor", "singer", "cotton", "butter",
    "tunnel", "feather",
)  # fmt: skip


def question(seed: int, *, words: int) -> list[dict[str, str]]:
    """A message of so many words, unlike that of any other seed."""
    rng = random.Random(seed)
    chosen = " ".join(rng.choice(_WORDS) for _ in range(words))
    return [_SYSTEM, {"role": "user", "content": f"{chosen}: tell me a story about these things."}]


def long_talk(seed: int, *, words: int) -> list[dict[str, str]]:
    """The first turn of a talk over a long text."""
    rng = random.Random(seed)
    sentences = [
        f"In the {rng.choice(_WORDS)} there was a {rng.choice(_WORDS)} of {rng.choice(_WORDS)}."
        for _ in range(words // 10)
    ]
    text = f"Text {seed}: {' '.join(sentences)}\n\nWhat is this text about?"
    return [_SYSTEM, {"role": "user", "content": text}]


def request(model: str, messages: list[dict[str, str]], *, tokens: int) -> dict[str, Any]:
    """The most likely answer, streamed, exactly so many tokens long."""
    return {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,
    }
