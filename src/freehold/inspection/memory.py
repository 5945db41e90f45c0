"""What a model takes of memory: its weights, and what it keeps of texts of several lengths.

Room: inspection. Knows what loading says of a configuration; must not know requests.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold.loading import ModelShapes
from freehold.ops import PAGE_TOKENS, KvPool, StatePool

__all__ = ["Memory", "MemoryAt", "memory_of"]

_CONTEXTS = (2048, 8192, 32768, 131072)


@dataclass(frozen=True)
class MemoryAt:
    """Bytes that keys and values of one text of this length take, in 16 and in 8 bits."""

    context_tokens: int
    kv_bytes: int
    kv_8bit_bytes: int


@dataclass(frozen=True)
class Memory:
    """Bytes in memory. `state_bytes` are of recurrent layers, for each text, whatever its length.

    `weights_bytes` are the file's own: packing for the kernels adds at most 3.6 percent.
    """

    weights_bytes: int
    state_bytes: int
    trained_tokens: int
    at: tuple[MemoryAt, ...]


def memory_of(shapes: ModelShapes, weights_bytes: int) -> Memory:
    """The memory of a model with these shapes, at contexts up to the one it was trained for."""
    trained = shapes.context_tokens
    contexts = [n for n in _CONTEXTS if n < trained] + [trained]
    spec = shapes.kv_spec
    pages = [KvPool(spec.layers, 1, bits).page_bytes for bits in (16, 8)]
    at = tuple(
        MemoryAt(n, *(-(-n // PAGE_TOKENS) * page for page in pages)) for n in sorted(contexts)
    )
    state = StatePool(spec.states, 1).slot_bytes if spec.states else 0
    return Memory(weights_bytes, state, trained, at)
