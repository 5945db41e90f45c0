"""Random weights in the shapes of real models, written one tensor at a time.

Room: benchmarks. Uses the gguf package only; must not use freehold. Speed depends on shapes
and block types, never on what the weights mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_CHUNK_ROWS = 16_384
_WEIGHT_SCALE = 0.02
_SEED = 20_261_123

_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The dimensions of a llama-architecture model."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    vocabulary: int
    rope_base: float
    context_tokens: int
    llama3_factor: float | None = None

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Every tensor as (name, row-major shape), in file order; the head is tied."""
        yield "token_embd.weight", (self.vocabulary, self.width)
        if self.llama3_factor is not None:
            yield "rope_freqs.weight", (self.head_width // 2,)
        q_rows, kv_rows = self.heads * self.head_width, self.kv_heads * self.head_width
        for layer in range(self.layers):
            block = f"blk.{layer}"
            yield f"{block}.attn_norm.weight", (self.width,)
            yield f"{block}.attn_q.weight", (q_rows, self.width)
            yield f"{block}.attn_k.weight", (kv_rows, self.width)
            yield f"{block}.attn_v.weight", (kv_rows, self.width)
            yield f"{block}.attn_output.weight", (self.width, q_rows)
            yield f"{block}.ffn_norm.weight", (self.width,)
            yield f"{block}.ffn_gate.weight", (self.mlp_width, self.width)
            yield f"{block}.ffn_up.weight", (self.mlp_width, self.width)
            yield f"{block}.ffn_down.weight", (self.width, self.mlp_width)
        yield "output_norm.weight", (self.width,)


LLAMA_1B = Shape(
    name="llama-3.2-1b-shape",
    layers=16,
    width=2048,
    heads=32,
    kv_heads=8,
    head_width=64,
    mlp_width=8192,
    vocabulary=128_256,
    rope_base=500_000.0,
    context_tokens=131_072,
    llama3_factor=32.0,
)
# Qwen3-4B's matrices under the llama architecture: no query or key norms.
QWEN_4B = Shape(
    name="qwen3-4b-shape",
    layers=36,
    width=2560,
    heads=32,
    kv_heads=8,
    head_width=128,
    mlp_width=9728,
    vocabulary=151_936,
    rope_base=1_000_000.0,
    context_tokens=40_960,
)


def write_random_bf16(shape: Shape, target: Path) -> None:
    """Write the shape with N(0, 0.02) BF16 matrices and norms near one.

    Peak memory: the embedding as BF16 plus a chunk of float32, under 1.5 GB for the 4B shape.
    """
    import gguf

    from benchmarks.gguf_copy import start_tensors

    rng = np.random.default_rng(_SEED)
    writer = gguf.GGUFWriter(target, "llama")
    _write_metadata(writer, shape)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for name, size in shape.tensors():
        wide = len(size) > 1
        dtype = gguf.GGMLQuantizationType.BF16 if wide else gguf.GGMLQuantizationType.F32
        n_bytes = math.prod(size) * (2 if wide else 4)
        writer.add_tensor_info(name, list(size), np.dtype(np.float32), n_bytes, raw_dtype=dtype)
    start_tensors(writer)
    for name, size in shape.tensors():
        writer.write_tensor_data(_values(rng, shape, name, size))
    writer.close()


def _values(
    rng: np.random.Generator, shape: Shape, name: str, size: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    if name == "rope_freqs.weight":
        assert shape.llama3_factor is not None
        return llama3_divisors(
            shape.head_width, base=shape.rope_base, factor=shape.llama3_factor, original=8192
        )
    if len(size) == 1:
        return (1 + 0.1 * rng.standard_normal(size[0], dtype=np.float32)).astype(np.float32)
    out = np.empty(size, np.uint16)
    for start in range(0, size[0], _CHUNK_ROWS):
        rows = out[start : start + _CHUNK_ROWS]
        values = rng.standard_normal(rows.shape, dtype=np.float32) * np.float32(_WEIGHT_SCALE)
        rows[:] = (values.view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)
    return out


def llama3_divisors(
    head_width: int,
    *,
    base: float,
    factor: float,
    original: int,
    low: float = 1.0,
    high: float = 4.0,
) -> np.ndarray[Any, Any]:
    """What rope_freqs.weight holds: by how much each rotation frequency is divided.

    Source: the llama3 rule of transformers' modeling_rope_utils.
    """
    frequencies = base ** (-np.arange(0, head_width, 2, dtype=np.float64) / head_width)
    wavelengths = 2 * np.pi / frequencies
    smooth = (original / wavelengths - low) / (high - low)
    blended = 1 / ((1 - smooth) / factor + smooth)
    divisors = np.where(wavelengths < original / high, 1.0, blended)
    return np.where(wavelengths > original / low, factor, divisors).astype(np.float32)


def _write_metadata(writer: Any, shape: Shape) -> None:
    writer.add_name(shape.name)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.mlp_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    add_byte_vocabulary(writer, shape.vocabulary)
    writer.add_chat_template(_TEMPLATE)


def add_byte_vocabulary(writer: Any, size: int) -> None:
    """A byte-level BPE vocabulary: two control tokens, 256 bytes, four merges, and filler."""
    import gguf

    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    pairs = [("h", "e"), ("t", "he"), ("Ġ", "the"), ("i", "n")]
    tokens = ["<|begin_of_text|>", "<|end_of_text|>", *byte_alphabet()]
    tokens += [left + right for left, right in pairs]
    types = [control, control] + [normal] * (len(tokens) - 2)
    filler = size - len(tokens)
    if filler < 0:
        raise ValueError(f"a vocabulary of {size} cannot hold {len(tokens)} tokens")
    tokens += [f"[PAD{index}]" for index in range(filler)]
    types += [gguf.TokenType.UNUSED] * filler
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([f"{left} {right}" for left, right in pairs])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)


def byte_alphabet() -> list[str]:
    """The 256 characters that stand for bytes in a byte-level BPE vocabulary.

    Source: GPT-2's encoder: printable Latin-1 bytes stand for themselves, the rest follow
    from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]
