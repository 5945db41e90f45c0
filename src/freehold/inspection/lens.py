"""What a model has in mind layer by layer, and where it looks, for one short prompt.

Room: inspection. Runs a decoder through its own forward pass; must not know any family.

After each layer stands what the model would say if that layer were its last: the pass is run with
the first layers alone, so that the final norm and the head are the model's own, and the last row is
the model's answer bit for bit. Source: the logit lens, nostalgebraist 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.errors import BadRequest, WrongTask
from freehold.loading import is_encoder, load_model, read_text_side
from freehold.models.blocks import Attention, Workspace
from freehold.models.decoder import Decoder
from freehold.ops import KvPool, Step, Tensor
from freehold.tokenizer import Tokenizer

__all__ = ["MOST_TOKENS", "Attended", "Guess", "Lens", "depth_logits", "lens_of", "watch"]

MOST_TOKENS = 48
_POSITIONS = 10  # the last ones

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Guess:
    """The likeliest next token after a layer, and how likely."""

    token: str
    probability: float


@dataclass(frozen=True)
class Attended:
    """Where a layer looks: for each token the shares of those before it, over all heads' mean."""

    layer: int
    weights: tuple[tuple[float, ...], ...]  # (T, T)


@dataclass(frozen=True)
class Lens:
    """The prompt's tokens; for each layer the guesses at the last positions; where layers look."""

    tokens: tuple[str, ...]
    first: int  # the position of the first guess in a row
    guesses: tuple[tuple[Guess, ...], ...]  # (L, positions)
    attention: tuple[Attended, ...]


def lens_of(path: Path, prompt: str) -> Lens:
    """Loads the model and looks. The prompt is read as a plain text, without a template.

    Raises: BadRequest for a prompt of no tokens or too many; WrongTask for what is no decoder;
    FormatError, LoadError.
    """
    if is_encoder(path):
        raise _no_decoder()
    loaded = load_model(path)
    tokenizer = read_text_side(path, loaded.metadata).tokenizer
    if not isinstance(loaded.model, Decoder):
        raise _no_decoder()
    ids = tokenizer.encode(prompt, parse_special=True)
    if not 1 <= len(ids) <= MOST_TOKENS:
        raise BadRequest(
            "the prompt does not suit the lens; it was not shortened",
            param="prompt",
            expected=f"1 to {MOST_TOKENS} tokens",
            found=f"{len(ids)} tokens",
        )
    first = max(0, len(ids) - _POSITIONS)
    guesses = tuple(
        tuple(_guess(row, tokenizer) for row in logits[first:])
        for logits in depth_logits(loaded.model, ids)
    )
    return Lens(
        tokens=tuple(_spelled(tokenizer, token) for token in ids),
        first=first,
        guesses=guesses,
        attention=tuple(watch(loaded.model, ids)),
    )


def depth_logits(model: Decoder, ids: list[int]) -> Iterator[Floats]:
    """The logits (T, V) with the first layer alone, the first two, and so on to all of them."""
    layers = list(model.layers)
    try:
        for depth in range(1, len(layers) + 1):
            model.layers = layers[:depth]
            yield _runner(model, ids).logits(ids)
    finally:
        model.layers = layers


def _runner(model: Any, ids: list[int]) -> Runner:
    """A pass with room for these tokens; a decoder of any configuration is a model."""
    return Runner(model, tokens=len(ids), slots=2)


def watch(model: Decoder, ids: list[int]) -> list[Attended]:
    """Where each layer of plain attention looks, from its queries and keys in one pass."""
    found: list[Attended] = []
    with _watched(model, found):
        _runner(model, ids).run([Part(Sequence(), ids)])
    return found


@contextmanager
def _watched(model: Decoder, found: list[Attended]) -> Iterator[None]:
    layers, width = list(model.layers), model.config.head_width

    def watching(mixer: Attention) -> Any:
        def run(x: Tensor, step: Step, kv: KvPool, work: Workspace) -> None:
            mixer(x, step, kv, work)
            found.append(Attended(mixer.layer, _weights(mixer, width, step.count, work)))

        return run

    try:
        model.layers = [
            (watching(mixer) if isinstance(mixer, Attention) else mixer, feed)
            for mixer, feed in layers
        ]
        yield
    finally:
        model.layers = layers


def _weights(
    mixer: Attention, width: int, count: int, work: Workspace
) -> tuple[tuple[float, ...], ...]:
    """The mean over heads of softmax(q k), whose rotated rows the mixer left in its buffers."""
    q = work["q"].numpy()[:count].astype(np.float64)  # (T, H A)
    k = work["k"].numpy()[:count].astype(np.float64)  # (T, G A)
    queries = q.reshape(count, -1, width)  # (T, H, A)
    keys = k.reshape(count, -1, width)  # (T, G, A)
    keys = np.repeat(keys, queries.shape[1] // keys.shape[1], axis=1)
    scores = np.einsum("tha,sha->hts", queries, keys) * mixer.scale
    at = np.arange(count)
    hidden = at[None, :] > at[:, None]
    if mixer.window:
        hidden |= at[None, :] <= at[:, None] - mixer.window
    if mixer.chunk:
        hidden |= at[None, :] < at[:, None] // mixer.chunk * mixer.chunk
    scores[:, hidden] = -np.inf
    most = scores.max(axis=2, keepdims=True)
    shares = np.exp(scores - most)
    whole = shares.sum(axis=2, keepdims=True)
    if mixer.sinks is not None:
        whole = whole + np.exp(mixer.sinks.numpy().reshape(-1, 1, 1) - most)
    mean = (shares / whole).mean(axis=0)
    return tuple(tuple(float(share) for share in row) for row in mean)


def _guess(logits: Floats, tokenizer: Tokenizer) -> Guess:
    shares = np.exp(logits.astype(np.float64) - logits.max())
    best = int(logits.argmax())
    return Guess(_spelled(tokenizer, best), float(shares[best] / shares.sum()))


def _spelled(tokenizer: Tokenizer, token: int) -> str:
    if token >= tokenizer.vocab_size:
        return f"[{token}]"
    if tokenizer.is_special(token):
        return tokenizer.token(token)
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


def _no_decoder() -> WrongTask:
    return WrongTask(
        "the lens looks at what a model says next; this one says nothing",
        expected="a model for chat",
        found="a model for embedding",
    )
