"""A chat model in this process: messages or a text in, an answer out.

Room: local. Joins tokenizer, templates and engine; must not know HTTP or terminals.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from freehold.chat.dialects import dialect_of
from freehold.chat.prompts import RenderedPrompt, prompt_tokens
from freehold.chat.templates import ChatTemplate
from freehold.engine.engine import Engine
from freehold.engine.request import Output, Request
from freehold.engine.runner import Runner, slot_bytes
from freehold.engine.sampler import Sampling
from freehold.errors import BadPrompt, BadSampling, BadSetting, PromptTooLong, WrongTask
from freehold.loading import Loaded, load_adapter, read_text_side
from freehold.local.answers import Completion, Stats, Stream
from freehold.ops import PAGE_TOKENS, KvPool
from freehold.tokenizer import Tokenizer

__all__ = ["Model"]


@dataclass(frozen=True)
class _Asked:
    """How an answer is wanted."""

    sampling: Sampling
    max_tokens: int | None
    adapter: str


class Model:
    """Weights, tokenizer and template of one file, ready to answer."""

    def __init__(
        self,
        loaded: Loaded,
        *,
        name: str,
        context_tokens: int | None,
        kv_bits: int = 16,
        adapter_bits: int = 8,
        speculation: bool = True,
    ) -> None:
        self.name = name
        self._loaded, self._adapter_bits = loaded, adapter_bits
        self.path = loaded.path
        self.metadata: Mapping[str, object] = loaded.metadata
        self.report = loaded.report  # of quantized safetensors; a GGUF file's blocks are kept
        self._network = loaded.model
        text = read_text_side(loaded.path, loaded.metadata)
        self.tokenizer: Tokenizer = text.tokenizer
        self._templates = text.templates
        self.suggested = text.suggested  # how the maker would draw; applied where you say so
        self._template: ChatTemplate | None = None
        self.context_tokens = self._context(context_tokens)
        self._kv_bits, self._speculation = kv_bits, speculation
        self._runner = self.new_runner(self.context_tokens)
        self._engine = self._engine_over(self._runner)
        self._outputs: dict[str, deque[Output]] = {}
        self._numbers = itertools.count()
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
        page_bytes = KvPool(self._network.kv_spec().layers, 1).page_bytes
        token_bytes = -(-page_bytes // PAGE_TOKENS)
        fits = _machine_bytes() // 2 // token_bytes
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
            self._template = ChatTemplate.from_metadata(self._templates, self.tokenizer)
        return self._template

    @property
    def cached_tokens(self) -> int:
        """How many prompt tokens were taken from earlier prompts and answers, in all."""
        return self._engine.stats().prefix_hits_total

    def new_runner(self, tokens: int, sequences: int | None = None) -> Runner:
        """A runner with its own KV pool of `tokens` tokens over the same weights.

        `sequences` are how many recurrent states it holds; by default what a sixteenth of this
        machine's memory has room for, at least two and at most 64.
        """
        if sequences is None:
            fits = _machine_bytes() // 16 // max(slot_bytes(self._network), 1)
            sequences = min(max(fits, 2), 64)
        return Runner(self._network, tokens=tokens, kv_bits=self._kv_bits, slots=sequences)

    def new_engine(self, tokens: int, *, max_running: int = 64) -> Engine:
        """An engine of its own over the same weights and adapters, with `tokens` tokens of KV pool.

        For many texts at once; one thread drives it, and nothing else runs this model meanwhile.
        """
        engine = self._engine_over(self.new_runner(tokens), max_running=max_running)
        engine.adapters = self._engine.adapters
        return engine

    def _engine_over(self, runner: Runner, *, max_running: int = 64) -> Engine:
        return Engine(
            runner, max_running=max_running, bounds_chunks=False, speculates=self._speculation
        )

    def adapter_index(self, name: str) -> int:
        """The index that a runner knows an adapter by; -1 for "". Raises: UnknownModel."""
        return self._engine.adapters.index(name)

    def rendered(self, messages: Sequence[Mapping[str, object]]) -> RenderedPrompt:
        """The prompt that an answer to these messages continues. Raises: TemplateError."""
        dialect = dialect_of(self.template.source)
        return prompt_tokens(self.template, self.tokenizer, messages, dialect=dialect)

    def load_adapter(self, name: str, path: str | Path) -> int:
        """Adds a LoRA adapter, which answers then may name; returns its size in bytes.

        Raises: BadRequest for a name that is taken; FormatError and LoadError for its files.
        """
        if not name:
            raise BadSetting("an adapter needs a name", value=name, expected="at least a letter")
        adapter = load_adapter(Path(path), self._loaded, bits=self._adapter_bits)
        with self._lock:
            self._engine.adapters.add(name, adapter)
        return adapter.bytes

    def unload_adapter(self, name: str) -> None:
        """Takes an adapter away; open answers that use it end first."""
        with self._lock:
            self._engine.adapters.remove(name)

    def logits(
        self, ids: Sequence[int] | NDArray[np.integer], *, adapter: str | None = None
    ) -> NDArray[np.float32]:
        """The logits (T, V) after each of the tokens.

        Raises: BadPrompt for an id outside the vocabulary, PromptTooLong, UnknownModel.
        """
        tokens = self._checked([int(token) for token in ids], room=0)
        with self._lock:
            return self._runner.logits(tokens, self._engine.adapters.index(adapter or ""))

    @overload
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        sampling: Sampling = ...,
        max_tokens: int | None = ...,
        adapter: str | None = ...,
        stream: Literal[False] = ...,
    ) -> Completion: ...
    @overload
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        sampling: Sampling = ...,
        max_tokens: int | None = ...,
        adapter: str | None = ...,
        stream: Literal[True],
    ) -> Stream: ...
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        adapter: str | None = None,
        stream: bool = False,
    ) -> Completion | Stream:
        """Continues a text or a list of token ids, with no chat template, by an adapter if named.

        Raises: BadPrompt, PromptTooLong (a prompt is never shortened), BadSampling, UnknownModel.
        """
        if isinstance(prompt, str):
            prompt = self.tokenizer.encode(prompt)
        asked = _Asked(sampling or Sampling(), max_tokens, adapter or "")
        return self._answer(list(prompt), asked, stream)

    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        sampling: Sampling = ...,
        max_tokens: int | None = ...,
        adapter: str | None = ...,
        stream: Literal[False] = ...,
    ) -> Completion: ...
    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        sampling: Sampling = ...,
        max_tokens: int | None = ...,
        adapter: str | None = ...,
        stream: Literal[True],
    ) -> Stream: ...
    def chat(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        adapter: str | None = None,
        stream: bool = False,
    ) -> Completion | Stream:
        """Answers a conversation through the file's own chat template.

        What messages say is text: a control token's spelling in it stays text.
        Raises: TemplateError, PromptTooLong, BadSampling, UnknownModel for the adapter.
        """
        asked = _Asked(sampling or Sampling(), max_tokens, adapter or "")
        return self._answer(self.rendered(messages).tokens, asked, stream)

    def embed(self, texts: object, *, truncate: object = None) -> NoReturn:
        """Raises: WrongTask, since this model chats."""
        del texts, truncate
        raise WrongTask(
            f"{self.name!r} chats; embedding needs an encoder",
            value=self.name,
            expected="a model for embedding",
            found="a model for chat",
            hint="`freehold pull starter-embedder`, then load that",
        )

    def _answer(self, tokens: list[int], asked: _Asked, stream: bool) -> Completion | Stream:
        max_tokens = asked.max_tokens
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
        asked = replace(asked, max_tokens=limit)
        answer = Stream(self._pieces(tokens, asked, cancelled), cancelled)
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
        self, tokens: list[int], asked: _Asked, cancelled: threading.Event
    ) -> Generator[str, None, Completion]:
        decoder = self.tokenizer.stream()
        ids: list[int] = []
        text: list[str] = []
        started = time.perf_counter()
        first = 0.0
        reason = None
        with self._request(tokens, asked) as name:
            while reason is None:
                output = self._next(name, cancelled)
                if output is None:
                    reason = "cancelled"
                    break
                if output.error is not None:
                    raise output.error
                first = first or time.perf_counter()
                reason = output.finish_reason
                ids += output.tokens
                for token in output.tokens:
                    if piece := decoder.push(token):
                        text.append(piece)
                        yield piece
        if piece := decoder.finish():
            text.append(piece)
            yield piece
        ended = time.perf_counter()
        first = first or ended
        stats = Stats(len(tokens), len(ids), first - started, ended - first)
        return Completion("".join(text), ids, reason, stats)

    @contextmanager
    def _request(self, tokens: list[int], asked: _Asked) -> Iterator[str]:
        """A request of the engine, by its name; forgotten whatever happens."""
        assert asked.max_tokens is not None, "a limit is settled before"
        name = str(next(self._numbers))
        request = Request(
            id=name,
            tokens=tokens,
            max_tokens=asked.max_tokens,
            sampling=asked.sampling,
            stop_ids=self.tokenizer.eos_ids,
            adapter=asked.adapter,
        )
        with self._lock:
            self._engine.submit(request)
            self._outputs[name] = deque()
        try:
            yield name
        finally:
            with self._lock:
                del self._outputs[name]
                self._engine.cancel(name)

    def _next(self, name: str, cancelled: threading.Event) -> Output | None:
        """The request's next output; whoever waits steps the engine, for all open answers."""
        while not cancelled.is_set():
            with self._lock:
                if self._outputs[name]:
                    return self._outputs[name].popleft()
                for other, output in self._engine.step():
                    self._outputs[other].append(output)
        return None


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
