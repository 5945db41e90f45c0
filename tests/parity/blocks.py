"""Random quantized blocks as a hostile file could hold them: any codes, any finite scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

# Where the float16 fields of a block lie; every other byte may hold anything.
HALF_OFFSETS: dict[str, tuple[int, ...]] = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
    "MXFP4": (),
}
QUANTIZED = tuple(HALF_OFFSETS)

# The bit patterns a float16 field is drawn from.
LARGEST = np.array([0x7BFF, 0xFBFF, 0x7BFE], np.uint16)
SUBNORMAL = np.array([0x0001, 0x8001, 0x03FF, 0x83FF, 0x0000, 0x8000, 0x0200], np.uint16)


def ordinary_halves(rng: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    """Scales as files have them: between 1e-4 and 0.1, either sign."""
    scales: np.ndarray[Any, Any] = 10 ** rng.uniform(-4, -1, count) * rng.choice([-1, 1], count)
    return scales.astype(np.float16).view(np.uint16)


def any_finite_halves(rng: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    """Every finite float16 with equal chance."""
    bits = rng.integers(0, 0x7C00, count) | (rng.integers(0, 2, count) << 15)
    return bits.astype(np.uint16)


def random_blocks(
    rng: np.random.Generator, name: str, count: int, halves: np.ndarray[Any, Any] | None = None
) -> Bytes:
    """`count` blocks with random codes; float16 fields are drawn from `halves` if given.

    Shapes: (count * block bytes,)
    """
    _, block_bytes = block_size(name)
    raw = rng.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    for offset in HALF_OFFSETS[name]:
        bits = ordinary_halves(rng, count) if halves is None else rng.choice(halves, count)
        raw[:, offset : offset + 2] = bits.astype(np.uint16).view(np.uint8).reshape(count, 2)
    if name == "MXFP4" and halves is None:
        raw[:, 0] = rng.integers(115, 125, count)
    return raw.reshape(-1)


def block_size(name: str) -> tuple[int, int]:
    """Elements and bytes of a block, as the gguf package has them."""
    elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    return int(elements), int(block_bytes)


def reference(name: str, raw: Bytes) -> Floats:
    """The oracle: the gguf package's own dequantisation, as a flat float32 array."""
    with np.errstate(all="ignore"):
        values = dequantize(raw, GGMLQuantizationType[name])
    return np.asarray(values, np.float32).reshape(-1)
