"""Random rows of the types that quantized safetensors become, and what they stand for.

Oracle: `core/quants/checkpoint.h` in words, in float32; torch 2.13 decodes E4M3. E2M1 and E8M0 are
written out from the OCP Microscaling specification 1.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from freehold import ops
from freehold.formats.gguf import BlockType

Array = np.ndarray[Any, Any]

# name -> its number, elements a block, and whether activations meet it as int8
CHECKPOINT: dict[str, tuple[int, int, bool]] = {
    "Int4x32": (ops.INT4_X32, 32, True),
    "Int4x64": (ops.INT4_X64, 64, True),
    "Int4x128": (ops.INT4_X128, 128, True),
    "Int8x32": (ops.INT8_X32, 32, True),
    "Int8x128": (ops.INT8_X128, 128, True),
    "Fp8x32": (ops.FP8_X32, 32, False),
    "Fp8x128": (ops.FP8_X128, 128, False),
    "Nvfp4": (ops.NVFP4, 32, True),
    "Mxfp4Pairs": (ops.MXFP4_PAIRS, 32, True),
}
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
E2M1 = np.concatenate([E2M1, -E2M1])


def type_number(name: str) -> int:
    """The number by which the core knows a type, of a GGUF file or not."""
    return CHECKPOINT[name][0] if name in CHECKPOINT else int(BlockType[name])


def e4m3(codes: Array) -> Array:
    """What 8-bit floats stand for, float32."""
    bits = torch.from_numpy(np.ascontiguousarray(codes, np.uint8)).view(torch.float8_e4m3fn)
    decoded: Array = bits.to(torch.float32).numpy()
    return decoded


def finite_e4m3(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Every code but the two that are not numbers."""
    codes: Array = rng.integers(0, 127, shape, dtype=np.uint8)
    codes |= rng.choice(np.array([0, 128], np.uint8), shape)
    return codes


def pairs(codes: Array) -> Array:
    """Two codes a byte, the even one low."""
    packed: Array = codes[..., ::2] | codes[..., 1::2] << 4
    return packed


def checkpoint_rows(
    rng: np.random.Generator, name: str, rows: int, cols: int
) -> tuple[Array, Array]:
    """The bytes that `Weight.pack` takes, (rows, n), and the values (rows, cols)."""
    if name.startswith("Int"):
        return _affine(rng, name, rows, cols)
    if name.startswith("Fp8"):
        return _fp8(rng, CHECKPOINT[name][1], rows, cols)
    return _fp4(rng, name, rows, cols)


def _bytes(array: Array) -> Array:
    return np.ascontiguousarray(array).view(np.uint8)


def _affine(rng: np.random.Generator, name: str, rows: int, cols: int) -> tuple[Array, Array]:
    elements = CHECKPOINT[name][1]
    shape = (rows, cols // elements, 1)
    top = 16 if name.startswith("Int4") else 256
    codes = rng.integers(0, top, (rows, cols // elements, elements), dtype=np.uint8)
    zeros = rng.integers(0, min(top + 1, 256), shape, dtype=np.uint8)
    scales = (10 ** rng.uniform(-3, 0, shape) * rng.choice([-1, 1], shape)).astype(np.float16)
    factors = (2.0 ** rng.integers(-6, 6, (rows, 1)) * rng.uniform(1, 2, (rows, 1))).astype(
        np.float32
    )
    kept = pairs(codes) if top == 16 else codes
    blocks = np.concatenate([_bytes(scales), zeros, kept], axis=2).reshape(rows, -1)
    scale = scales.astype(np.float32) * factors[:, :, None]
    values = scale * (codes.astype(np.float32) - zeros)
    return np.concatenate([_bytes(factors), blocks], axis=1), values.reshape(rows, cols)


def _fp8(rng: np.random.Generator, elements: int, rows: int, cols: int) -> tuple[Array, Array]:
    codes = finite_e4m3(rng, (rows, cols // elements, elements))
    scales = rng.uniform(-1e-2, 1e-2, (rows, cols // elements, 1)).astype(np.float32)
    raw = np.concatenate([_bytes(scales), codes], axis=2)
    return raw.reshape(rows, -1), (e4m3(codes) * scales).reshape(rows, cols)


def _fp4(rng: np.random.Generator, name: str, rows: int, cols: int) -> tuple[Array, Array]:
    codes = rng.integers(0, 16, (rows, cols // 32, 32), dtype=np.uint8)
    levels = E2M1[codes]
    if name == "Mxfp4Pairs":
        exponents = rng.integers(110, 135, (rows, cols // 32, 1), dtype=np.uint8)
        raw = np.concatenate([exponents, pairs(codes)], axis=2).reshape(rows, -1)
        scale = np.ldexp(np.float32(1), exponents.astype(np.int32) - 127).astype(np.float32)
        return raw, (levels * scale).reshape(rows, cols)
    scales = finite_e4m3(rng, (rows, cols // 32, 2))
    own = np.ones((rows, 2), np.float32)
    own[::2, 0] = rng.uniform(1e-4, 1e-2, own[::2, 0].shape)  # some multiply,
    own[1::2, 1] = rng.uniform(1e2, 1e4, own[1::2, 1].shape)  # others divide
    raw = np.concatenate([scales, pairs(codes)], axis=2).reshape(rows, -1)
    scale = e4m3(scales) * own[:, 0, None, None] / own[:, 1, None, None]
    values = levels.reshape(rows, -1, 16) * scale.reshape(rows, -1, 1)
    return np.concatenate([_bytes(own), raw], axis=1), values.reshape(rows, cols)
