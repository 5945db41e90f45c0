"""One model in memory: what the server knows of it, and the process that runs it.

Room: server. Reads the file's metadata for text work; weights are the engine process's alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold.chat.dialects import Dialect, dialect_of
from freehold.chat.reasoning import ReasoningFormat, reasoning_of
from freehold.chat.templates import ChatTemplate
from freehold.config import Settings
from freehold.engine.client import EngineProcess
from freehold.engine.request import TokenLogprob
from freehold.formats.gguf import open_gguf
from freehold.server import answering
from freehold.server.accounting import Accounting
from freehold.server.ask import Ask, TokenText
from freehold.server.cards import ModelCard
from freehold.server.context import Asker
from freehold.server.metrics import Observer
from freehold.tokenizer import Tokenizer, tokenizer_from_gguf

__all__ = ["ChatParts", "EmbedderResident", "Resident", "Unobserved", "load_chat", "load_embedder"]


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


class _InMemory:
    """What every resident has: a name, a process, and who uses it."""

    def __init__(self, parts: ChatParts, engine: EngineProcess) -> None:
        self.card = parts.card
        self.name = parts.card.id
        self.created = parts.card.created
        self.engine = engine
        self.observer: Observer = parts.observer if parts.observer is not None else Unobserved()
        self.accounting = parts.accounting
        self.open_answers = 0
        self.last_used = time.monotonic()

    def opened(self) -> None:
        """One more answer is under way."""
        self.open_answers += 1
        self.last_used = time.monotonic()

    def closed(self) -> None:
        """One answer has ended."""
        self.open_answers -= 1
        self.last_used = time.monotonic()

    async def close(self) -> None:
        """Ends the process."""
        await self.engine.close()


class Resident(_InMemory):
    """A chat model: its tokenizer and template here, its weights in the engine's process."""

    def __init__(
        self,
        parts: ChatParts,
        engine: EngineProcess,
        metadata: Mapping[str, object],
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(parts, engine)
        self.metadata = metadata
        self.tokenizer = tokenizer
        self.vocabulary: int = engine.info["vocabulary"]
        self.context_tokens: int = engine.info["context_tokens"]
        self.system = parts.card.system
        self.template = _template(metadata, tokenizer)
        source = None if self.template is None else self.template.source
        self.dialect: Dialect = dialect_of(source)
        self.reasoning: ReasoningFormat | None = reasoning_of(source)
        shown = set(self.dialect.markers)
        if self.reasoning is not None:
            shown |= set(self.reasoning.markers)
        self.shown_specials = frozenset(
            token
            for token in range(tokenizer.vocab_size)
            if tokenizer.is_special(token) and tokenizer.token(token) in shown
        )

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
    """An encoder: texts become vectors in its own process."""

    tokenizer: Any
    width: int
    context_tokens: int

    async def embed(self, texts: list[list[int]], asker: Asker) -> NDArray[np.float32]:
        """Vectors (N, D) of tokenized texts, normalised as the model's files say."""
        raise NotImplementedError


def _template(metadata: Mapping[str, object], tokenizer: Tokenizer) -> ChatTemplate | None:
    """The file's chat template; None for a base model. A broken one raises."""
    if not any(str(key).startswith("tokenizer.chat_template") for key in metadata):
        return None
    return ChatTemplate.from_metadata(metadata, tokenizer)


def _read(parts: ChatParts) -> tuple[dict[str, object], Tokenizer]:
    with open_gguf(parts.card.path) as file:
        metadata: dict[str, object] = dict(file.metadata)
    tokenizer = tokenizer_from_gguf(metadata)
    for key in ("tokens", "scores", "token_type", "merges"):  # large, and in the tokenizer now
        metadata.pop(f"tokenizer.ggml.{key}", None)
    return metadata, tokenizer


async def load_chat(parts: ChatParts) -> Resident:
    """Loads a chat model. Raises: FormatError, LoadError, BadSetting, EngineDied."""
    settings = parts.settings
    engine = EngineProcess(
        {
            "path": str(parts.card.path),
            "threads": settings.threads,
            "kv_bytes": parts.kv_bytes,
            "kv_bits": settings.kv_bits,
            "context_tokens": settings.context_tokens,
            "max_running": settings.max_running,
            "max_waiting": settings.max_waiting,
        }
    )
    started = asyncio.create_task(engine.start())
    try:
        metadata, tokenizer = await asyncio.to_thread(_read, parts)
        await started
        return Resident(parts, engine, metadata, tokenizer)
    except BaseException:
        started.cancel()
        await asyncio.gather(started, return_exceptions=True)
        await engine.close()
        raise


async def load_embedder(parts: ChatParts) -> EmbedderResident:
    """Loads an encoder."""
    raise NotImplementedError
