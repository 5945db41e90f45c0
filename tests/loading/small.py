"""Small models of the llama architecture as GGUF files, key by key, so that a test can lie.

No oracle is needed to write them: the weights are random, in any mix of block types.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.random_shapes import byte_alphabet
from freehold.formats.gguf import BlockType
from tests.formats.gguf_build import BOOL, F32, I32, STRING, U32, Gguf, array, pair, tensor
from tests.parity.blocks import QUANTIZED, block_size, random_blocks, reference

Array = np.ndarray[Any, Any]
Value = bool | int | float | str | list[str] | list[int]

WEIGHT_SCALE = 0.08


@dataclass(frozen=True, kw_only=True)
class Dims:
    """Dimensions, one-letter as in the glossary, and block types by tensor name's ending."""

    L: int = 2
    D: int = 256
    H: int = 8
    G: int = 2
    A: int = 32
    F: int = 512
    V: int = 277
    context_tokens: int = 1024
    kind: str = "F32"
    other_kinds: dict[str, str] = field(default_factory=dict)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's row-major shape; the head is tied."""
        shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.V, self.D)}
        query, key = self.H * self.A, self.G * self.A
        for layer in range(self.L):
            block = f"blk.{layer}."
            shapes |= {
                block + "attn_norm.weight": (self.D,),
                block + "attn_q.weight": (query, self.D),
                block + "attn_k.weight": (key, self.D),
                block + "attn_v.weight": (key, self.D),
                block + "attn_output.weight": (self.D, query),
                block + "ffn_norm.weight": (self.D,),
                block + "ffn_gate.weight": (self.F, self.D),
                block + "ffn_up.weight": (self.F, self.D),
                block + "ffn_down.weight": (self.D, self.F),
            }
        return shapes | {"output_norm.weight": (self.D,)}


@dataclass
class Checkpoint:
    """A file to be: metadata by key, tensors as (block type, row-major shape, bytes)."""

    keys: dict[str, Value]
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]]

    def write(self, path: Path) -> Path:
        """The file; returns its path."""
        infos, data = [], bytearray()
        for name, (kind, shape, raw) in self.tensors.items():
            infos.append(tensor(name, shape[::-1], int(BlockType[kind]), len(data)))
            data += raw + bytes(-len(raw) % 32)
        pairs = [_pair(key, value) for key, value in self.keys.items()]
        path.write_bytes(Gguf(pairs=pairs, tensors=infos, data=bytes(data)).content())
        return path

    def reshape(self, name: str, *shape: int) -> None:
        """Gives a tensor another shape, as float32 zeros. Mutates: tensors."""
        self.tensors[name] = ("F32", shape, bytes(4 * math.prod(shape)))


def small(dims: Dims | None = None, *, seed: int = 0) -> Checkpoint:
    """A sound checkpoint with random weights under which attention looks far back."""
    dims = dims or Dims()
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in dims.shapes().items():
        kind = dims.kind if len(shape) == 2 else "F32"
        for ending, other in dims.other_kinds.items():
            kind = other if name.endswith(ending) else kind
        tensors[name] = (kind, shape, _values(rng, name, kind, shape))
    return Checkpoint(metadata(dims), tensors)


def metadata(dims: Dims) -> dict[str, Value]:
    """What a sound file of these dimensions says."""
    tokens = ["<|begin|>", "<|end|>", *byte_alphabet(), "he"]
    filler = [f"[PAD{i}]" for i in range(dims.V - len(tokens))]
    return {
        "general.architecture": "llama",
        "llama.block_count": dims.L,
        "llama.context_length": dims.context_tokens,
        "llama.embedding_length": dims.D,
        "llama.feed_forward_length": dims.F,
        "llama.attention.head_count": dims.H,
        "llama.attention.head_count_kv": dims.G,
        "llama.attention.key_length": dims.A,
        "llama.attention.value_length": dims.A,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": dims.A,
        "llama.vocab_size": dims.V,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": [*tokens, *filler],
        "tokenizer.ggml.token_type": [3, 3] + [1] * 257 + [5] * len(filler),
        "tokenizer.ggml.merges": ["h e"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    }


def _pair(key: str, value: Value) -> bytes:
    if isinstance(value, list):
        return array(key, STRING if isinstance(value[0], str) else I32, value)
    if isinstance(value, str):
        return pair(key, STRING, value)
    if isinstance(value, bool):
        return pair(key, BOOL, value)
    if isinstance(value, float):
        return pair(key, F32, value)
    return pair(key, U32 if value >= 0 else I32, value)


def _values(rng: np.random.Generator, name: str, kind: str, shape: tuple[int, ...]) -> bytes:
    if len(shape) == 1:
        return (1 + 0.2 * rng.standard_normal(shape)).astype(np.float32).tobytes()
    if kind in QUANTIZED:
        blocks = math.prod(shape) // block_size(kind)[0]
        return random_blocks(rng, kind, blocks, _halves(kind)).tobytes()
    values = (WEIGHT_SCALE * rng.standard_normal(shape)).astype(np.float32)
    if kind == "F16":
        return values.astype(np.float16).tobytes()
    return (
        (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        if kind == "BF16"
        else (values.tobytes())
    )


def _halves(kind: str) -> Array | None:
    """Block scales of either sign that give values of WEIGHT_SCALE; None where a block has none."""
    if kind == "MXFP4":
        return None
    one = np.array([1, -1], np.float16)
    sample = random_blocks(np.random.default_rng(1), kind, 64, one.view(np.uint16))
    scale = WEIGHT_SCALE / reference(kind, sample).std()
    return (one * np.float16(scale)).astype(np.float16).view(np.uint16)
