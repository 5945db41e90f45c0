"""The in-process face: a model you can ask, from Python, with nothing else running.

Room: local. Joins library, loading, tokenizer, templates and engine; must not know HTTP or
terminals.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from freehold import library, ops
from freehold.chat.templates import ChatTemplate
from freehold.engine import pages
from freehold.engine.runner import Part, Runner
from freehold.engine.sampler import Sampler, Sampling
from freehold.errors import BadPrompt, BadSampling, BadSetting, PromptTooLong
from freehold.loading import Loaded, load_gguf
from freehold.tokenizer import Tokenizer, tokenizer_from_gguf

__all__ = ["Completion", "Model", "Stats", "Stream", "load"]


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


class Model:
    """Weights, tokenizer and template of one file, ready to answer."""

    def __init__(
        self, loaded: Loaded, *, name: str, context_tokens: int | None, kv_bits: int = 16
    ) -> None:
        self.name = name
        self.path = loaded.path
        self.metadata: Mapping[str, object] = loaded.metadata
        self._network = loaded.model
        self.tokenizer: Tokenizer = tokenizer_from_gguf(loaded.metadata)
        self._template: ChatTemplate | None = None
        self.context_tokens = self._context(context_tokens)
        self._kv_bits = kv_bits
        self._runner = self.new_runner(self.context_tokens)
        self._lock = threading.Lock()

    def _context(self, asked: int | None) -> int:
        """The context in tokens: what was asked, else the model's own, within memory."""
        trained = self._network.context_tokens
        if asked is not None and not 1 <= asked <= trained:
            raise BadSetting(
                "the context does not suit this model",
                value=asked,
                expected=f"1 to {trained} tokens",
                found=str(asked),
                hint="leave it out to get the model's own",
            )
        spec = self._network.kv_spec()
        token_bytes = 4 * spec.layers * spec.kv_heads * spec.head_width  # two float16 vectors
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        fits = memory // 2 // token_bytes
        if asked is not None and asked > fits:
            raise BadSetting(
                "the context needs more memory than half of this machine's",
                value=asked,
                expected=f"at most {fits} tokens",
                found=f"{asked} tokens of {token_bytes} bytes",
            )
        return asked if asked is not None else min(trained, fits)

    @property
    def template(self) -> ChatTemplate:
        """The chat template of the file. Raises: TemplateError when it has none."""
        if self._template is None:
            self._template = ChatTemplate.from_metadata(self.metadata, self.tokenizer)
        return self._template

    def new_runner(self, tokens: int) -> Runner:
        """A runner with its own KV pool of `tokens` tokens over the same weights."""
        return Runner(self._network, tokens=tokens, kv_bits=self._kv_bits)

    def logits(self, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """The logits (T, V) after each of the tokens.

        Raises: BadPrompt for an id outside the vocabulary, PromptTooLong.
        """
        tokens = self._checked([int(token) for token in ids], room=0)
        with self._lock:
            return self._runner.logits(tokens)

    @overload
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        sampling: Sampling = ...,
        max_tokens: int | None = ...,
        stream: Literal[False] = ...,
    ) -> Completion: ...
    @overload
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        sampling: Sampling = ...,
        max_tokens: int | None = ...,
        stream: Literal[True],
    ) -> Stream: ...
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        stream: bool = False,
    ) -> Completion | Stream:
        """Continues a text or a list of token ids, with no chat template.

        Raises: BadPrompt, PromptTooLong (a prompt is never shortened), BadSampling.
        """
        if isinstance(prompt, str):
            prompt = self.tokenizer.encode(prompt)
        return self._answer(list(prompt), sampling or Sampling(), max_tokens, stream)

    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        sampling: Sampling = ...,
        max_tokens: int | None = ...,
        stream: Literal[False] = ...,
    ) -> Completion: ...
    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        sampling: Sampling = ...,
        max_tokens: int | None = ...,
        stream: Literal[True],
    ) -> Stream: ...
    def chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        stream: bool = False,
    ) -> Completion | Stream:
        """Answers a conversation through the file's own chat template.

        Raises: TemplateError, PromptTooLong, BadSampling.
        """
        text = self.template.render([dict(message) for message in messages])
        # The template writes every control token itself, the opening one included.
        tokens = self.tokenizer.encode(text, add_bos=False, parse_special=True)
        return self._answer(tokens, sampling or Sampling(), max_tokens, stream)

    def _answer(
        self, tokens: list[int], sampling: Sampling, max_tokens: int | None, stream: bool
    ) -> Completion | Stream:
        if max_tokens is not None and (isinstance(max_tokens, bool) or max_tokens < 1):
            raise BadSampling(
                "max_tokens is out of range",
                value=max_tokens,
                expected="a whole number of at least 1",
                found=repr(max_tokens),
            )
        tokens = self._checked(tokens, room=max_tokens or 1)
        limit = max_tokens or self.context_tokens - len(tokens)
        cancelled = threading.Event()
        answer = Stream(self._pieces(tokens, sampling, limit, cancelled), cancelled)
        if stream:
            return answer
        for _ in answer:
            pass
        return answer.completion

    def _checked(self, tokens: list[int], *, room: int) -> list[int]:
        if not tokens:
            raise BadPrompt("the prompt is empty", expected="at least one token", found="none")
        vocabulary = self._network.vocabulary
        for token in tokens:
            if not 0 <= token < vocabulary:
                raise BadPrompt(
                    "a token id is outside the vocabulary",
                    value=token,
                    expected=f"0 to {vocabulary - 1}",
                    found=str(token),
                )
        if len(tokens) + room > self.context_tokens:
            wanted = f" and {room} for the answer" if room else ""
            raise PromptTooLong(
                "the prompt does not fit the context; it was not shortened",
                value=len(tokens),
                expected=f"at most {self.context_tokens} tokens in all",
                found=f"{len(tokens)} tokens{wanted}",
                hint="shorten the prompt, or give a larger context if the model has one",
            )
        return tokens

    def _pieces(
        self, tokens: list[int], sampling: Sampling, limit: int, cancelled: threading.Event
    ) -> Generator[str, None, Completion]:
        sampler = Sampler(sampling, tokens)
        decoder = self.tokenizer.stream()
        ids: list[int] = []
        text: list[str] = []
        started = time.perf_counter()
        first = started
        reason = "length"
        with self._sequence() as sequence:
            for start in range(0, len(tokens), self._runner.step_tokens):
                logits = self._step(sequence, tokens[start : start + self._runner.step_tokens])
                if cancelled.is_set():
                    break
            first = time.perf_counter()
            while len(ids) < limit:
                if cancelled.is_set():
                    reason = "cancelled"
                    break
                token = sampler.next(logits)
                if token in self.tokenizer.eos_ids:
                    reason = "stop"
                    break
                ids.append(token)
                if piece := decoder.push(token):
                    text.append(piece)
                    yield piece
                if len(ids) < limit:
                    logits = self._step(sequence, [token])
        if piece := decoder.finish():
            text.append(piece)
            yield piece
        stats = Stats(len(tokens), len(ids), first - started, time.perf_counter() - first)
        return Completion("".join(text), ids, reason, stats)

    @contextmanager
    def _sequence(self) -> Iterator[pages.Sequence]:
        """A fresh sequence of the model's own pool, whose pages come back whatever happens."""
        sequence = pages.Sequence()
        try:
            yield sequence
        finally:
            with self._lock:
                self._runner.pages.release(sequence)

    def _step(self, sequence: pages.Sequence, tokens: list[int]) -> NDArray[np.float32]:
        """Runs tokens; their last logits (V,), a copy: other open answers may step in between."""
        with self._lock:
            logits = self._runner.run([Part(sequence, tokens)])  # (1, V)
            return np.array(logits[0])


def load(
    ref: str | Path,
    *,
    context_tokens: int | None = None,
    threads: int | None = None,
    kv_bits: int = 16,
) -> Model:
    """Loads a model by path or short name; nothing is fetched.

    `context_tokens` defaults to the model's own; `threads` (of the whole process) to every core;
    `kv_bits` 8 halves the KV cache for a small loss.
    Raises: UnknownModel, FormatError, LoadError, BadSetting.
    """
    path = library.resolve(ref)
    if threads is not None:
        if not 1 <= threads <= 256:
            raise BadSetting(
                "threads is out of range", value=threads, expected="1 to 256", found=str(threads)
            )
        ops.set_threads(threads)
    if kv_bits not in (8, 16):
        raise BadSetting(
            "kv_bits is out of range", value=kv_bits, expected="8 or 16", found=repr(kv_bits)
        )
    return Model(load_gguf(path), name=str(ref), context_tokens=context_tokens, kv_bits=kv_bits)
