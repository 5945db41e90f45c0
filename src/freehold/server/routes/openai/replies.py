"""The pieces that answers of this surface are built from: heads, usage, log probabilities.

Room: server. Plain dictionaries, made per token, so no models of pydantic; must not know routes.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from functools import cache
from json.encoder import encode_basestring_ascii as as_json
from typing import TYPE_CHECKING, Any

import freehold
from freehold.ops import isa_name
from freehold.server.ask import TokenText, Usage

if TYPE_CHECKING:
    from freehold.server.resident import Resident

__all__ = [
    "DONE",
    "FLOOR",
    "Chunks",
    "fingerprint",
    "head_of",
    "prompt_logprobs_of",
    "token_logprobs",
    "total",
    "usage_of",
]

DONE = "data: [DONE]\n\n"

# JSON has no infinity; OpenAI's own floor for what is next to impossible.
FLOOR = -9999.0


@cache
def fingerprint(model: str) -> str:
    """Changes whenever the same seed may give another answer: version, instruction set, model."""
    made_of = f"{freehold.__version__} {isa_name()} {model}"
    return "fp_" + hashlib.sha256(made_of.encode()).hexdigest()[:10]


def head_of(prefix: str, kind: str, resident: Resident) -> dict[str, Any]:
    """What every chunk of an answer begins with."""
    return {
        "id": f"{prefix}-{secrets.token_hex(16)}",
        "object": kind,
        "created": int(time.time()),
        "model": resident.name,
        "system_fingerprint": fingerprint(resident.name),
    }


class Chunks:
    """Writes the chunks of one answer. The head is the same in all of them, so it is made once."""

    def __init__(self, head: dict[str, Any], *, with_usage: bool) -> None:
        self._begin = f'data: {_compact(head)[:-1]},"choices":'
        self._end = ',"usage":null}\n\n' if with_usage else "}\n\n"

    def of(self, choice: dict[str, Any]) -> str:
        """The frame with this piece of a choice."""
        return f"{self._begin}[{_compact(choice)}]{self._end}"

    def text(self, choice: int, text: str) -> str:
        """The frame with a piece of text and nothing else: what nearly all of them hold."""
        return (
            f'{self._begin}[{{"index":{choice},"delta":{{"content":{as_json(text)}}},'
            f'"logprobs":null,"finish_reason":null}}]{self._end}'
        )

    def last(self, usage: Usage) -> str:
        """The frame with the usage, which has no choice."""
        return f'{self._begin}[],"usage":{_compact(usage_of(usage))}}}\n\n'


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens as OpenAI counts them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def total(usages: Iterable[Usage]) -> Usage:
    """The usage of several requests together."""
    counted = list(usages)
    return Usage(
        prompt_tokens=sum(u.prompt_tokens for u in counted),
        completion_tokens=sum(u.completion_tokens for u in counted),
        cached_tokens=sum(u.cached_tokens for u in counted),
        reasoning_tokens=sum(u.reasoning_tokens for u in counted),
        prompt_s=sum(u.prompt_s for u in counted),
        generate_s=sum(u.generate_s for u in counted),
    )


def token_logprobs(tokens: Sequence[TokenText]) -> list[dict[str, Any]]:
    """Log probabilities in the form of chat completions."""
    return [{**_token(t), "top_logprobs": [_token(other) for other in t.top]} for t in tokens]


def _token(token: TokenText) -> dict[str, Any]:
    return {
        "token": token.text,
        "logprob": max(token.logprob, FLOOR),
        "bytes": list(token.bytes),
    }


def prompt_logprobs_of(tokens: Sequence[TokenText | None]) -> list[dict[str, Any] | None]:
    """The prompt's log probabilities in vLLM's form; the first token has none.

    `rank` is null for a token that is not among the likeliest ones that were asked for.
    """
    return [None if token is None else _ranked(token) for token in tokens]


def _ranked(token: TokenText) -> dict[str, Any]:
    ranks = {other.token: rank for rank, other in enumerate(token.top, start=1)}
    own = {other.token: other for other in (*token.top, token)}
    return {
        str(number): {
            "logprob": max(other.logprob, FLOOR),
            "rank": ranks.get(number),
            "decoded_token": other.text,
        }
        for number, other in own.items()
    }
