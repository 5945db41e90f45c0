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


def _deepseek_v2_lite() -> Tensors:
    """Rows that are no multiple of 256 take the types that llama.cpp's quantizer falls back to."""
    layers, width, heads, rank, rotated = 27, 2048, 16, 512, 64
    plain, value, experts, hidden = 128, 128, 64, 1408
    yield "token_embd.weight", (102_400, width), "Q4_K"
    for layer in range(layers):
        deep = more_bits(layer, layers)
        at, odd = f"blk.{layer}.", "Q8_0" if deep else "Q5_0"
        yield at + "attn_norm.weight", (width,), "F32"
        yield at + "attn_q.weight", (heads * (plain + rotated), width), "Q4_K"
        yield at + "attn_kv_a_mqa.weight", (rank + rotated, width), "Q4_K"
        yield at + "attn_kv_a_norm.weight", (rank,), "F32"
        yield at + "attn_k_b.weight", (heads, rank, plain), "Q5_0"
        yield at + "attn_v_b.weight", (heads, value, rank), "Q4_K"
        yield at + "attn_output.weight", (width, heads * value), "Q4_K"
        yield at + "ffn_norm.weight", (width,), "F32"
        if layer == 0:
            yield at + "ffn_gate.weight", (10_944, width), "Q4_K"
            yield at + "ffn_up.weight", (10_944, width), "Q4_K"
            yield at + "ffn_down.weight", (width, 10_944), odd
            continue
        yield at + "ffn_gate_inp.weight", (experts, width), "F32"
        yield at + "ffn_gate_exps.weight", (experts, hidden, width), "Q4_K"
        yield at + "ffn_up_exps.weight", (experts, hidden, width), "Q4_K"
        yield at + "ffn_down_exps.weight", (experts, width, hidden), odd
        yield at + "ffn_gate_shexp.weight", (2 * hidden, width), "Q4_K"
        yield at + "ffn_up_shexp.weight", (2 * hidden, width), "Q4_K"
        yield at + "ffn_down_shexp.weight", (width, 2 * hidden), "Q6_K" if deep else "Q4_K"
    yield "output_norm.weight", (width,), "F32"
    yield "output.weight", (102_400, width), "Q6_K"


DEEPSEEK_V2_LITE = BlockShape(
    name="deepseek-v2-lite-shape",
    arch="deepseek2",
    vocabulary=102_400,
    keys={
        "block_count": 27,
        "context_length": 163_840,
        "embedding_length": 2048,
        "feed_forward_length": 10_944,
        "vocab_size": 102_400,
        "attention.head_count": 16,
        "attention.head_count_kv": 1,
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.key_length_mla": 192,
        "attention.value_length_mla": 128,
        "attention.kv_lora_rank": 512,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 10_000.0,
        "rope.dimension_count": 64,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 40.0,
        "rope.scaling.original_context_length": 4096,
        "rope.scaling.yarn_log_multiplier": 0.0707,
        "leading_dense_block_count": 1,
        "expert_count": 64,
        "expert_used_count": 6,
        "expert_shared_count": 2,
        "expert_feed_forward_length": 1408,
        "expert_weights_scale": 1.0,
        "expert_weights_norm": False,
        "expert_gating_func": 1,
    },
    tensors=_deepseek_v2_lite,
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
    kinds = {
        float: writer.add_float32,
        int: writer.add_uint32,
        bool: writer.add_bool,
        str: writer.add_string,
    }
    for key, value in shape.keys.items():
        kinds[type(value)](f"{shape.arch}.{key}", value)
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


def _q5_0(rng: np.random.Generator, count: int, _size: tuple[int, ...]) -> Iterator[Bytes]:
    for blocks in _counts(count, 32):
        raw = rng.integers(0, 256, (blocks, 22), dtype=np.uint8)
        raw[:, :2] = np.array([2.2e-3], "<f2").view(np.uint8)
        yield raw


def _q8_0(rng: np.random.Generator, count: int, _size: tuple[int, ...]) -> Iterator[Bytes]:
    for blocks in _counts(count, 32):
        raw = rng.integers(0, 256, (blocks, 34), dtype=np.uint8)
        raw[:, :2] = np.array([2.7e-4], "<f2").view(np.uint8)
        yield raw


def _counts(elements: int, block: int = 256) -> Iterator[int]:
    blocks = elements // block
    for start in range(0, blocks, _CHUNK_BLOCKS):
        yield min(_CHUNK_BLOCKS, blocks - start)


_CHUNKS: Mapping[str, Callable[..., Iterator[Any]]] = {
    "F32": _floats,
    "Q4_K": _q4_k,
    "Q5_0": _q5_0,
    "Q6_K": _q6_k,
    "Q8_0": _q8_0,
}
