"""Llama 4, its text part.

Room: models. The whole network: pre-norm RMSNorm; grouped-query attention within chunks of the
text, rotated and then normed without weights, but in every fourth layer over all of it, unrotated,
with queries that grow with the logarithm of their position; one expert of many, whose weight counts
for what it is given, beside a shared one, or a plain gated MLP. Must not know a file, a request or
a lock.
Source: Llama4TextModel of transformers 5; arXiv 2501.19399 for queries that grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from freehold.models.base import Parameter, Slot
from freehold.models.blocks import Moe
from freehold.models.decoder import Decoder, DecoderConfig, Feed, Mixer, attention, mlp, moe
from freehold.ops import Tensor

__all__ = ["Llama4", "Llama4Config"]


@dataclass(frozen=True, kw_only=True)
class Llama4Config(DecoderConfig):
    """The plain configuration, which layers look back in chunks, and whether heads are normed."""

    chunk: int = 8192
    chunked: frozenset[int] = frozenset()
    unit_heads: bool = True


class Llama4(Decoder):
    """The plain decoder whose layers look back in chunks, or at everything without positions."""

    config: Llama4Config

    @classmethod
    def slots(cls, config: DecoderConfig) -> Mapping[str, Slot]:
        """Every tensor the family takes, by canonical name."""
        divisors = Slot((config.head_width // 2,), matrix=False, optional=True)
        return {**super().slots(config), "rope_divisors": divisors}

    def layer(self, parameters: Mapping[str, Parameter], index: int) -> tuple[Mixer, Feed]:
        """The blocks of one layer."""
        config = self.config
        mixer = attention(config, parameters, index)
        if index not in config.unrotated:
            # A rotation keeps a head's length, so that norming before it is norming after it.
            unit = _ones(config.head_width) if config.unit_heads else None
            mixer = replace(mixer, late=None, q_norm=unit, k_norm=unit)
        mixer = replace(mixer, chunk=config.chunk if index in config.chunked else 0)
        if config.sparse(index) is None:
            return mixer, mlp(config, parameters, index)
        feed: Moe = replace(moe(config, parameters, index), weigh_inputs=True)
        return mixer, feed


def _ones(width: int) -> Tensor:
    ones = Tensor(1, width)
    ones.fill(np.ones((1, width), np.float32))
    return ones
