"""Large models with random quantized weights, written block by block: no wide file is made first.

Room: benchmarks. Uses the gguf package only; must not use freehold. Speed depends on shapes and
block types, never on what the weights mean; the values are of a usual size so that nothing
overflows, and a random router spreads tokens evenly over the experts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.random_shapes import add_byte_vocabulary

_SEED = 20_261_125
_CHUNK_BLOCKS = 1 << 18
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"

Tensors = Iterator[tuple[str, tuple[int, ...], str]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """A model's metadata, without the architecture before keys, and its tensors in file order.

    A tensor is (name, row-major shape, block type's name).
    """

    name: str
    arch: str
    vocabulary: int
    keys: Mapping[str, Any]
    tensors: Callable[[], Tensors]


def more_bits(layer: int, layers: int) -> bool:
    """Whether a Q4_K_M file keeps this layer's values and down projections in Q6_K."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _qwen3_moe() -> Tensors:
    layers, width, heads, kv_heads, head, experts, hidden = 48, 2048, 32, 4, 128, 128, 768
    yield "token_embd.weight", (151_936, width), "Q4_K"
    for layer in range(layers):
        at, deep = f"blk.{layer}.", "Q6_K" if more_bits(layer, layers) else "Q4_K"
        yield at + "attn_norm.weight", (width,), "F32"
        yield at + "attn_q.weight", (heads * head, width), "Q4_K"
        yield at + "attn_k.weight", (kv_heads * head, width), "Q4_K"
        yield at + "attn_v.weight", (kv_heads * head, width), deep
        yield at + "attn_output.weight", (width, heads * head), "Q4_K"
        yield at + "attn_q_norm.weight", (head,), "F32"
        yield at + "attn_k_norm.weight", (head,), "F32"
        yield at + "ffn_norm.weight", (width,), "F32"
        yield at + "ffn_gate_inp.weight", (experts, width), "F32"
        yield at + "ffn_gate_exps.weight", (experts, hidden, width), "Q4_K"
        yield at + "ffn_up_exps.weight", (experts, hidden, width), "Q4_K"
        yield at + "ffn_down_exps.weight", (experts, width, hidden), deep
    yield "output_norm.weight", (width,), "F32"
    yield "output.weight", (151_936, width), "Q6_K"


QWEN3_30B_A3B = BlockShape(
    name="qwen3-30b-a3b-shape",
    arch="qwen3moe",
    vocabulary=151_936,
    keys={
        "block_count": 48,
        "context_length": 40_960,
        "embedding_length": 2048,
        "feed_forward_length": 6144,
        "attention.head_count": 32,
        "attention.head_count_kv": 4,
        "attention.key_length": 128,
        "attention.value_length": 128,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1_000_000.0,
        "expert_count": 128,
        "expert_used_count": 8,
        "expert_feed_forward_length": 768,
    },
    tensors=_qwen3_moe,
)


def write_random_blocks(shape: BlockShape, target: Path) -> None:
    """Write the shape with random blocks; returns when the file is whole.

    Peak memory: a chunk of blocks, about 60 MB.
    """
    import gguf

    from benchmarks.gguf_copy import start_tensors

    writer = gguf.GGUFWriter(target, shape.arch)
    writer.add_name(shape.name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    for key, value in shape.keys.items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{shape.arch}.{key}", value)
    add_byte_vocabulary(writer, shape.vocabulary)
    writer.add_chat_template(_TEMPLATE)
    for name, size, kind in shape.tensors():
        dtype = gguf.GGMLQuantizationType[kind]
        elements, n_bytes = gguf.GGML_QUANT_SIZES[dtype]
        total = math.prod(size) // elements * n_bytes
        if kind == "F32":
            writer.add_tensor_info(name, list(size), np.dtype(np.float32), total)
            continue
        byte_shape = gguf.quant_shape_to_byte_shape(size, dtype)
        writer.add_tensor_info(name, list(byte_shape), np.dtype(np.uint8), total, raw_dtype=dtype)
    start_tensors(writer)
    rng = np.random.default_rng(_SEED)
    out = writer.fout[0]
    writer.write_padding(out, out.tell())
    for _name, size, kind in shape.tensors():
        start = out.tell()
        for chunk in _CHUNKS[kind](rng, math.prod(size), size):
            out.write(chunk.tobytes())
        writer.write_padding(out, out.tell() - start)
    writer.close()


def _floats(
    rng: np.random.Generator, count: int, size: tuple[int, ...]
) -> Iterator[np.ndarray[Any, Any]]:
    values = rng.standard_normal(count, dtype=np.float32)
    yield (1 + 0.1 * values if len(size) == 1 else 0.02 * values).astype(np.float32)


def _q4_k(rng: np.random.Generator, count: int, _size: tuple[int, ...]) -> Iterator[Bytes]:
    for blocks in _counts(count):
        raw = rng.integers(0, 256, (blocks, 144), dtype=np.uint8)
        raw[:, :4] = np.array([1.2e-4, 7.5 * 1.2e-4], "<f2").view(np.uint8)  # scale, minimum
        yield raw


def _q6_k(rng: np.random.Generator, count: int, _size: tuple[int, ...]) -> Iterator[Bytes]:
    for blocks in _counts(count):
        raw = rng.integers(0, 256, (blocks, 210), dtype=np.uint8)
        raw[:, 192:208] = (raw[:, 192:208] & 15) + 1  # scales 1 to 16
        raw[:, 208:] = np.array([1.3e-4], "<f2").view(np.uint8)
        yield raw


def _counts(elements: int) -> Iterator[int]:
    blocks = elements // 256
    for start in range(0, blocks, _CHUNK_BLOCKS):
        yield min(_CHUNK_BLOCKS, blocks - start)


_CHUNKS: Mapping[str, Callable[..., Iterator[Any]]] = {
    "F32": _floats,
    "Q4_K": _q4_k,
    "Q6_K": _q6_k,
}
