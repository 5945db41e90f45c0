"""A decoder as an encoder: the vectors its head would see, for each token of whole texts.

Room: models. Works for any decoder that keeps keys and values alone; must not know how the vectors
are pooled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from freehold.errors import BadConfig
from freehold.models.base import Slot
from freehold.models.decoder import Decoder
from freehold.ops import PAGE_TOKENS, KvPool, Packed, Step, Tensor

__all__ = ["TextEncoder"]

_STEP_TOKENS = 512


class TextEncoder:
    """Runs texts through a decoder from an empty cache; each token sees those before it.

    Raises: BadConfig for a decoder with recurrent states.
    """

    def __init__(self, decoder: Decoder) -> None:
        spec = decoder.kv_spec()
        if spec.states:
            raise BadConfig(
                "a model with recurrent states embeds no texts here",
                expected="layers with keys and values",
                found=f"{len(spec.states)} recurrent layers",
            )
        self._decoder = decoder
        self._layers = spec.layers
        self.width = decoder.config.width
        self._kv: tuple[int, KvPool] | None = None
        self._packed: tuple[Packed, list[list[int]]] | None = None
        self._hidden = Tensor(1, self.width)

    @classmethod
    def slots(cls, config: Any) -> Mapping[str, Slot]:
        """The tensors of a decoder."""
        return Decoder.slots(config)

    @property
    def vocabulary(self) -> int:
        """V, how many tokens there are."""
        return self._decoder.vocabulary

    @property
    def context_tokens(self) -> int:
        """How many tokens a text may have."""
        return self._decoder.context_tokens

    def pack(self, texts: Sequence[Sequence[int]]) -> Packed:
        """Texts of token ids, one after another; `forward` takes the last ones packed."""
        tokens = [token for text in texts for token in text]
        offsets = np.cumsum([0, *map(len, texts)]).tolist()
        packed = Packed(tokens, offsets)
        self._packed = (packed, [list(text) for text in texts])
        return packed

    def forward(self, packed: Packed) -> Tensor:
        """The final norm's vector for each token, (T, D); valid until the next call."""
        assert self._packed is not None, "forward before pack"
        last, texts = self._packed
        assert last is packed, "forward takes what was packed last"
        if self._hidden.rows < packed.count:
            self._hidden = Tensor(packed.count, self.width)
        out = self._hidden.numpy()
        pages = [-(-len(text) // PAGE_TOKENS) for text in texts]
        kv = self._pool(sum(pages))
        first_page = np.cumsum([0, *pages]).tolist()
        done = 0
        for step in _steps(texts, first_page, pages):
            # Text by text and chunk by chunk, in the order of the packed tokens.
            out[done : done + step.count] = self._decoder.hidden(step, kv).numpy()[: step.count]
            done += step.count
        return self._hidden

    def _pool(self, pages: int) -> KvPool:
        """A cache with room for so many pages; a larger one lasts for the next calls."""
        if self._kv is None or self._kv[0] < pages:
            self._kv = (pages, KvPool(self._layers, pages))
        return self._kv[1]


def _steps(
    texts: Sequence[list[int]], first_page: Sequence[int], pages: Sequence[int]
) -> Iterator[Step]:
    """Whole short texts together, a long one in pieces, none above the tokens of a step."""
    tokens: list[int] = []
    positions: list[int] = []
    offsets = [0]
    tables: list[list[int]] = []
    for index, text in enumerate(texts):
        table = list(range(first_page[index], first_page[index] + pages[index]))
        for start in range(0, len(text), _STEP_TOKENS):
            part = text[start : start + _STEP_TOKENS]
            if tokens and len(tokens) + len(part) > _STEP_TOKENS:
                yield Step(tokens, positions, offsets, tables, [])
                tokens, positions, offsets, tables = [], [], [0], []
            tokens += part
            positions += range(start, start + len(part))
            offsets.append(len(tokens))
            tables.append(table)
    if tokens:
        yield Step(tokens, positions, offsets, tables, [])
