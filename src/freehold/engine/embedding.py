"""Texts of tokens to vectors: packed by a budget, without padding, in the order they came.

Room: engine. Is given an Encoder and knows only `models/base.py`; must not know files or text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import BadConfig, BadPrompt, BadRequest, PromptTooLong
from freehold.models.base import Encoder
from freehold.ops import Tensor

__all__ = ["Embedder", "shortened"]

STEP_TOKENS = 1024  # tokens of one pass: enough to keep two cores busy, few enough for the caches


class Embedder:
    """An encoder with its pooling: token ids in, a vector for each text out.

    A text's vector is the same bits alone and in any company. For one thread at a time.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        pooling: str,
        normalise: bool,
        max_tokens: int | None = None,
        step_tokens: int = STEP_TOKENS,
    ) -> None:
        self._encoder = encoder
        self._pooling = ops.POOLINGS.index(pooling)
        self._normalise = normalise
        self._step_tokens = step_tokens
        self._rows = Tensor(1, encoder.width)
        self.width = encoder.width
        self.max_tokens = min(encoder.context_tokens, max_tokens or encoder.context_tokens)

    def embed(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors (N, D) of texts of token ids.

        Raises: BadPrompt for a text without tokens or with an id outside the vocabulary;
        PromptTooLong, since no text is cut here.
        """
        for index, text in enumerate(texts):
            self._check(index, text)
        out = np.empty((len(texts), self.width), np.float32)
        for batch in self._batches([len(text) for text in texts]):
            out[batch] = self._run([texts[i] for i in batch])
        return out

    def _run(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        packed = self._encoder.pack(texts)
        hidden = self._encoder.forward(packed)  # (T, D)
        if self._rows.rows < len(texts):
            self._rows = Tensor(len(texts), self.width)
        ops.pool(hidden, packed, self._pooling, self._normalise, self._rows)
        vectors = self._rows.numpy()[: len(texts)]
        if not np.isfinite(vectors).all():
            raise BadConfig(
                "the model gives a vector that is not finite",
                expected="finite numbers",
                hint="its weights are damaged or need another precision",
            )
        return vectors

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Indices of texts that share a pass: neighbours in length, within the token budget."""
        batch: list[int] = []
        tokens = 0
        # By length, so that the work of a pass divides evenly; it changes no vector.
        for index in sorted(range(len(lengths)), key=lengths.__getitem__):
            if batch and tokens + lengths[index] > self._step_tokens:
                yield batch
                batch, tokens = [], 0
            batch.append(index)
            tokens += lengths[index]
        if batch:
            yield batch

    def _check(self, index: int, text: Sequence[int]) -> None:
        if not text:
            raise BadPrompt(f"text {index} has no token", param=f"input.{index}", found="none")
        if len(text) > self.max_tokens:
            raise PromptTooLong(
                f"text {index} does not fit the model; it was not shortened",
                param=f"input.{index}",
                value=len(text),
                expected=f"at most {self.max_tokens} tokens",
                found=f"{len(text)} tokens",
                hint="split it into parts",
            )
        if min(text) < 0 or max(text) >= self._encoder.vocabulary:
            raise BadPrompt(
                f"text {index} has a token id outside the vocabulary",
                param=f"input.{index}",
                expected=f"0 to {self._encoder.vocabulary - 1}",
            )


def shortened(vectors: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """The first `dimensions` numbers of each vector (N, D), at length one again.

    None, or all of them, leaves the vectors as they are. Raises: BadRequest outside 1 to D.
    """
    width = vectors.shape[1]
    if dimensions is None or dimensions == width:
        return vectors
    if not 1 <= dimensions <= width:
        raise BadRequest(
            "dimensions is out of range",
            param="dimensions",
            value=dimensions,
            expected=f"1 to {width}, the model's width",
            found=str(dimensions),
        )
    kept = vectors[:, :dimensions]
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    out: NDArray[np.float32] = (kept / lengths).astype(np.float32)
    return out
