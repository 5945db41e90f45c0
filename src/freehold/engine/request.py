"""What the engine is asked and what it gives back: plain data that crosses to its process, but for
what it expects of a grammar.

Room: engine. Knows token ids only; must not know text, messages or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from freehold.engine.sampler import Sampling
from freehold.errors import FreeholdError

__all__ = ["EngineStats", "GrammarMatcher", "Output", "Request", "TokenLogprob", "together"]


class GrammarMatcher(Protocol):
    """What a grammar allows next; see `engine.matcher`."""

    @property
    def finished(self) -> bool:
        """Whether nothing but the end may follow."""

    def fill(self, mask: NDArray[np.uint32]) -> None:
        """Writes the allowed tokens as bits. Mutates: mask."""

    def accept(self, token: int) -> None:
        """Goes on past a token."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One sequence to continue.

    Units: `deadline_s` counts from submission. `logprobs` k asks for the chosen token's and the k
    likeliest, of the model's own distribution (before penalties, masks and temperature); 0 for the
    chosen one's alone. `grammar` is in llguidance's form. `owner` is who waits fairly with others
    and shares cached prefixes with nobody else. `branch` tells several answers of one seed apart.
    `adapter` is the id of one that the engine holds; without one the model answers as it is.
    `background` takes what others leave. `weighed` are tokens whose logits come with each output.
    """

    id: str
    tokens: list[int]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    grammar: str | None = None
    deadline_s: float | None = None
    owner: str = ""
    branch: int = 0
    adapter: str = ""
    background: bool = False
    weighed: tuple[int, ...] = ()


@dataclass(frozen=True)
class TokenLogprob:
    """A token, its log probability, and the likeliest tokens at its place, likeliest first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Output(NamedTuple):
    """What a step added to a request; of plain make, because each token comes in one.

    `finish_reason` is None while it goes on, then "stop" (a stop id, which is given in `stop_id`
    and is not among the tokens, nor `stop_logprob` among the others; or the grammar's end),
    "length", or "error" with the `error`.
    With the first token come `prompt_logprobs`, `cached_tokens` (of the prompt, from the prefix
    cache) and `queue_s`, from submission to the first step; `first` marks it, in the engine's own
    process only. `weights` are the logits of the tokens that the request weighs, of the model's
    own distribution at this place.
    """

    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    finish_reason: str | None = None
    stop_id: int | None = None
    stop_logprob: TokenLogprob | None = None
    cached_tokens: int = 0
    queue_s: float = 0.0
    error: FreeholdError | None = None
    weights: tuple[float, ...] = ()
    first: bool = False


def together(outputs: list[Output]) -> Output:
    """Outputs of one request, one after the other, as one; the last says how it ends."""
    if len(outputs) == 1:
        return outputs[0]
    tokens = tuple(token for output in outputs for token in output.tokens)
    logprobs = tuple(note for output in outputs for note in output.logprobs)
    return outputs[-1]._replace(tokens=tokens, logprobs=logprobs)


@dataclass(frozen=True, kw_only=True)
class EngineStats:
    """What runs and waits now, and totals since the start, in tokens where not said otherwise."""

    num_running: int = 0
    num_waiting: int = 0
    kv_usage: float = 0.0
    prompt_tokens_total: int = 0
    generation_tokens_total: int = 0
    prefix_queries_total: int = 0
    prefix_hits_total: int = 0
    preemptions_total: int = 0
    guessed_tokens_total: int = 0
    kept_tokens_total: int = 0  # of those guessed
    engine_restarts_total: int = 0
