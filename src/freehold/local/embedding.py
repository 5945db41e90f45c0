"""An embedding model in this process: texts in, vectors out.

Room: local. Joins tokenizer and engine; must not know HTTP or terminals.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from freehold.engine.embedding import Embedder
from freehold.errors import BadPrompt, BadSetting, WrongTask
from freehold.loading import LoadedEncoder, load_encoder_tokenizer
from freehold.tokenizer import EncoderTokenizer

__all__ = ["EmbeddingModel"]

_FEWEST_TOKENS = 3  # a begin mark, a token, an end mark


class EmbeddingModel:
    """Weights and tokenizer of one directory, ready to embed.

    `precision` says how the matrices are kept: "int16" is rounded on loading, to whole numbers of
    13 bits with a scale for 128 columns; "float32" is the file's own.
    """

    def __init__(self, loaded: LoadedEncoder, *, name: str, context_tokens: int | None) -> None:
        plan = loaded.plan
        self.name = name
        self.path = plan.path
        self.precision = loaded.precision
        self.prompts = plan.sentence.prompts
        self.width = plan.width
        self.context_tokens = _context(context_tokens, loaded)
        self.tokenizer: EncoderTokenizer = load_encoder_tokenizer(plan)
        self._embedder = Embedder(
            loaded.encoder,
            pooling=plan.sentence.pooling,
            normalise=plan.sentence.normalise,
            max_tokens=self.context_tokens,
        )
        self._lock = threading.Lock()

    def embed(
        self, texts: Sequence[str] | Sequence[Sequence[int]], *, truncate: bool = False
    ) -> NDArray[np.float32]:
        """Vectors (N, D) of texts, or of their token ids as they are.

        A text longer than `context_tokens` is an error; with `truncate` its end is left out.
        Raises: PromptTooLong, BadPrompt.
        """
        if isinstance(texts, str):
            raise BadPrompt("embed takes a list of texts", expected="[text]", found="a text")
        ids = self._tokens(texts)
        if truncate:
            ids = [self.tokenizer.cut(each, self.context_tokens) for each in ids]
        with self._lock:
            return self._embedder.embed(ids)

    def _tokens(self, texts: Sequence[str] | Sequence[Sequence[int]]) -> list[list[int]]:
        words = [text for text in texts if isinstance(text, str)]
        if len(words) == len(texts):
            return self.tokenizer.encode_batch(words)
        if words:
            raise BadPrompt("texts and token ids cannot be mixed", expected="one kind")
        return [[int(token) for token in text] for text in texts]

    def chat(
        self,
        messages: object,
        *,
        sampling: object = None,
        max_tokens: object = None,
        stream: object = None,
    ) -> NoReturn:
        """Raises: WrongTask, since this model embeds."""
        del messages, sampling, max_tokens, stream
        raise self._wrong()

    def generate(
        self,
        prompt: object,
        *,
        sampling: object = None,
        max_tokens: object = None,
        stream: object = None,
    ) -> NoReturn:
        """Raises: WrongTask, since this model embeds."""
        del prompt, sampling, max_tokens, stream
        raise self._wrong()

    def logits(self, ids: object) -> NoReturn:
        """Raises: WrongTask, since this model embeds."""
        del ids
        raise self._wrong()

    def _wrong(self) -> WrongTask:
        return WrongTask(
            f"{self.name!r} embeds texts; it has no answers",
            value=self.name,
            expected="a model for chat",
            found="a model for embedding",
            hint="use its `embed`, or load a chat model such as starter",
        )


def _context(asked: int | None, loaded: LoadedEncoder) -> int:
    """How many tokens a text may have: what the files say, or what was asked within positions."""
    most = loaded.encoder.context_tokens
    if asked is None:
        return loaded.plan.context_tokens
    if not _FEWEST_TOKENS <= asked <= most:
        raise BadSetting(
            "the context does not suit this model",
            value=asked,
            expected=f"{_FEWEST_TOKENS} to {most} tokens",
            found=str(asked),
            hint="leave it out to get the model's own",
        )
    return asked
