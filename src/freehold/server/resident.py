"""One model in memory: what the server knows of it, and the process that runs it.

Room: server. Reads the file's metadata for text work; weights are the engine process's alone.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from freehold.chat.dialects import Dialect, dialect_of
from freehold.chat.reasoning import ReasoningFormat, reasoning_of
from freehold.chat.said import shown_specials
from freehold.chat.templates import ChatTemplate
from freehold.config import Settings
from freehold.engine.client import EngineProcess
from freehold.engine.request import TokenLogprob
from freehold.engine.sampler import Sampling
from freehold.errors import FreeholdError
from freehold.loading import (
    Suggested,
    TextSide,
    load_encoder_tokenizer,
    read_embedder,
    read_judge,
    read_text_side,
)
from freehold.server import answering
from freehold.server.accounting import Accounting
from freehold.server.ask import Ask, TokenText
from freehold.server.cards import ModelCard
from freehold.server.context import Asker
from freehold.server.judging import judge_of
from freehold.server.metrics import Observer
from freehold.tokenizer import EncoderTokenizer, Tokenizer

__all__ = ["ChatParts", "EmbedderResident", "Resident", "Unobserved", "load_chat", "load_embedder"]

T = TypeVar("T")

_PART_TOKENS = 4096
_numbers = itertools.count(1)


class Unobserved:
    """An observer for where nobody counts."""

    def on_first_token(self, model: str, seconds: float) -> None:
        """Does nothing."""

    def on_token_gap(self, model: str, seconds: float) -> None:
        """Does nothing."""

    def on_finish(
        self,
        model: str,
        reason: str,
        seconds: float,
        queue_s: float,
        prompt_tokens: int,
        completion_tokens: int,
    ) -> None:
        """Does nothing."""


@dataclass(frozen=True, kw_only=True)
class ChatParts:
    """What a resident is made from."""

    card: ModelCard
    kv_bytes: int
    settings: Settings
    observer: Observer | None
    accounting: Accounting
    adapters: Mapping[str, str] = field(default_factory=dict)  # the engine's id -> path


@dataclass
class _Uses:
    """Who uses a model now; a model and its adapters count as one."""

    open_answers: int = 0
    last_used: float = field(default_factory=time.monotonic)


class _InMemory:
    """What every resident has: a name, a process, and who uses it."""

    def __init__(self, parts: ChatParts, engine: EngineProcess) -> None:
        self.card = parts.card
        self.name = parts.card.id
        self.created = parts.card.created
        self.engine = engine
        self.observer: Observer = parts.observer if parts.observer is not None else Unobserved()
        self.accounting = parts.accounting
        self._uses = _Uses()

    @property
    def open_answers(self) -> int:
        """Answers under way."""
        return self._uses.open_answers

    @property
    def last_used(self) -> float:
        """When an answer last began or ended, in monotonic seconds."""
        return self._uses.last_used

    def opened(self) -> None:
        """One more answer is under way."""
        self._uses.open_answers += 1
        self._uses.last_used = time.monotonic()

    def closed(self) -> None:
        """One answer has ended."""
        self._uses.open_answers -= 1
        self._uses.last_used = time.monotonic()

    async def close(self, why: FreeholdError | None = None) -> None:
        """Ends the process; answers under way fail, with `why` where it is said."""
        await self.engine.close(why)


class Resident(_InMemory):
    """A chat model: its tokenizer and template here, its weights in the engine's process."""

    def __init__(
        self,
        parts: ChatParts,
        engine: EngineProcess,
        text: TextSide,
    ) -> None:
        super().__init__(parts, engine)
        self.adapter = ""  # the engine's id of the one that answers
        self.tokenizer = tokenizer = text.tokenizer
        self.vocabulary: int = engine.info["vocabulary"]
        self.context_tokens: int = engine.info["context_tokens"]
        # 0 stands for no end.
        self.request_s: float | None = parts.settings.request_s or None
        self.system = parts.card.system
        applied = parts.settings.generation_config == "auto"
        self.suggested = text.suggested if applied else Suggested()
        self.template = _template(text.templates, tokenizer)
        self.judge = judge_of(read_judge(parts.card.path, text, self.name), tokenizer)
        source = None if self.template is None else self.template.source
        self.dialect: Dialect = dialect_of(source)
        self.reasoning: ReasoningFormat | None = reasoning_of(source)
        self.shown_specials = shown_specials(tokenizer, self.dialect, self.reasoning)

    def adapted(self, card: ModelCard, adapter: str) -> Resident:
        """This model with an adapter: another name, the same process."""
        found = copy.copy(self)
        found.card, found.name, found.created = card, card.id, card.created
        found.adapter = adapter
        return found

    def drawn(self, ask: Ask) -> Sampling:
        """How the answer is drawn: as asked, else as the maker recommends, else as usual."""
        return replace(ask.sampling, **self.suggested.of(ask.unsaid))

    def prompt(self, ask: Ask) -> list[int]:
        """The prompt's tokens. Raises: TemplateError, WrongTask, BadPrompt, PromptTooLong."""
        return list(answering.render(self, ask).tokens)

    async def answer(self, ask: Ask, asker: Asker) -> answering.Answer:
        """Begins to answer; all that can be refused is refused here."""
        return await answering.begin(self, ask, asker)

    def token_texts(self, note: TokenLogprob) -> TokenText:
        """A note of the engine with texts in place of ids alone."""
        return answering.token_texts(self.tokenizer, note)


class EmbedderResident(_InMemory):
    """An encoder: its tokenizer here, its weights in its own process."""

    def __init__(
        self, parts: ChatParts, engine: EngineProcess, tokenizer: EncoderTokenizer
    ) -> None:
        super().__init__(parts, engine)
        self.tokenizer = tokenizer
        self.width: int = engine.info["width"]
        self.vocabulary: int = engine.info["vocabulary"]
        self.context_tokens: int = engine.info["context_tokens"]

    async def embed(self, texts: list[list[int]], asker: Asker) -> NDArray[np.float32]:
        """Vectors (N, D) of tokenized texts, normalised as the model's files say.

        Long lists go to the engine in parts, so that others come in between; a text's vector does
        not depend on its company. Raises: BadPrompt, PromptTooLong, EngineDied.
        """
        out = np.empty((len(texts), self.width), np.float32)
        self.opened()
        try:
            for part in _parts([len(text) for text in texts]):
                out[part] = await self._embed([texts[i] for i in part], asker)
        finally:
            self.closed()
        self.accounting.finished(
            asker, self.name, prompt_tokens=sum(map(len, texts)), completion_tokens=0
        )
        return out

    async def _embed(self, texts: list[list[int]], asker: Asker) -> NDArray[np.float32]:
        name = f"{asker.request_id}-{next(_numbers)}"
        reply = await self.engine.call({"embed": name, "texts": texts}, name)
        assert reply is not None, "an embedding came without its vectors"
        return np.frombuffer(reply["tail"], np.float32).reshape(len(texts), self.width)


def _parts(lengths: list[int]) -> Iterator[list[int]]:
    """Indices of texts that go to the engine together: neighbours in length, some tokens each."""
    part: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        part.append(index)
        tokens += lengths[index]
        if tokens >= _PART_TOKENS:
            yield part
            part, tokens = [], 0
    if part:
        yield part


def _template(templates: Mapping[str, str], tokenizer: Tokenizer) -> ChatTemplate | None:
    """The model's chat template; None for a base model. A broken one raises."""
    return ChatTemplate.from_metadata(templates, tokenizer) if templates else None


def _read(parts: ChatParts) -> TextSide:
    return read_text_side(parts.card.path)


async def load_chat(parts: ChatParts) -> Resident:
    """Loads a chat model. Raises: FormatError, LoadError, BadSetting, EngineDied."""
    settings = parts.settings
    engine = EngineProcess(
        {
            "kind": "chat",
            "path": str(parts.card.path),
            "threads": settings.threads,
            "kv_bytes": parts.kv_bytes,
            "kv_bits": settings.kv_bits,
            "speculates": settings.speculation,
            "adapters": dict(parts.adapters),
            "adapter_bits": settings.adapter_bits,
            "context_tokens": settings.context_tokens,
            "max_running": settings.max_running,
            "max_waiting": settings.max_waiting,
        }
    )
    text = await _beside(engine, _read, parts)
    return Resident(parts, engine, text)


async def load_embedder(parts: ChatParts) -> EmbedderResident:
    """Loads an encoder. Raises: FormatError, LoadError, EngineDied."""
    engine = EngineProcess(
        {
            "kind": "embedding",
            "path": str(parts.card.path),
            "threads": parts.settings.threads,
            "precision": None,
        }
    )
    tokenizer = await _beside(engine, _encoder_tokenizer, parts)
    return EmbedderResident(parts, engine, tokenizer)


def _encoder_tokenizer(parts: ChatParts) -> EncoderTokenizer:
    return load_encoder_tokenizer(read_embedder(parts.card.path))


async def _beside(engine: EngineProcess, read: Callable[[ChatParts], T], parts: ChatParts) -> T:
    """Reads what the server needs of a model while its process loads the weights."""
    started = asyncio.create_task(engine.start())
    try:
        found = await asyncio.to_thread(read, parts)
        await started
    except BaseException:
        started.cancel()
        await asyncio.gather(started, return_exceptions=True)
        await engine.close()
        raise
    return found
