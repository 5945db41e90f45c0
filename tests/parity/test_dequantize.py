"""Dequantisation is bit-exact against the gguf package (0.19), for every block type.

Tolerance: none, bit patterns are compared. Each value is at most a product and a sum of float32
numbers in an order that the format fixes, so any difference (a fused multiply-add, say) is a bug.
"""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType

from freehold import ops
from tests.parity.blocks import (
    LARGEST,
    QUANTIZED,
    SUBNORMAL,
    Bytes,
    Floats,
    any_finite_halves,
    block_size,
    random_blocks,
    reference,
)

pytestmark = pytest.mark.parity

PLAIN = {"F32": 4, "F16": 2, "BF16": 2}
ROWS = (1, 15, 16, 17, 40)


def type_id(name: str) -> int:
    return int(GGMLQuantizationType[name])


def assert_same_bits(ours: Floats, theirs: Floats) -> None:
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))


def dequantized(name: str, raw: Bytes) -> Floats:
    elements, block_bytes = block_size(name)
    out = ops.dequantize(type_id(name), raw, len(raw) // block_bytes * elements)
    return np.asarray(out).reshape(-1)


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("scales", ["ordinary", "any finite", "largest", "subnormal"])
def test_dequantizes_bit_exactly(name: str, scales: str) -> None:
    rng = np.random.default_rng(type_id(name))
    halves = {
        "ordinary": None,
        "any finite": any_finite_halves(rng, 4096),
        "largest": LARGEST,
        "subnormal": SUBNORMAL,
    }[scales]
    raw = random_blocks(rng, name, 300, halves)
    assert_same_bits(dequantized(name, raw), reference(name, raw))


@pytest.mark.parametrize("name", QUANTIZED)
def test_every_byte_value_at_every_place_is_read(name: str) -> None:
    """256 blocks: block i holds the byte i everywhere but in its float16 fields."""
    _, block_bytes = block_size(name)
    scaled = random_blocks(np.random.default_rng(0), name, 256).reshape(256, block_bytes)
    same = np.repeat(np.arange(256, dtype=np.uint8)[:, None], block_bytes, axis=1)
    halves = half_bytes(name)
    same[:, halves] = scaled[:, halves]
    raw = same.reshape(-1)
    assert_same_bits(dequantized(name, raw), reference(name, raw))


def half_bytes(name: str) -> list[int]:
    from tests.parity.blocks import HALF_OFFSETS

    return [offset + byte for offset in HALF_OFFSETS[name] for byte in (0, 1)]


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_every_16_bit_float_is_exact(name: str) -> None:
    raw = np.arange(1 << 16, dtype=np.uint16).view(np.uint8)
    ours, theirs = dequantized(name, raw), reference(name, raw)
    missing = np.isnan(theirs)
    assert missing.any()
    assert np.isnan(ours[missing]).all()
    assert_same_bits(ours[~missing], theirs[~missing])


def test_f32_is_the_identity() -> None:
    values = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    assert_same_bits(dequantized("F32", values.view(np.uint8)), values)


def raw_rows(name: str, rows: int, blocks: int) -> tuple[Bytes, int]:
    """A matrix of `rows` rows of `blocks` blocks each, and its columns."""
    rng = np.random.default_rng(rows * 31 + blocks)
    if name in PLAIN:
        cols = 32 * blocks
        values = rng.standard_normal(rows * cols).astype(np.float32)
        if name == "F32":
            return values.view(np.uint8), cols
        if name == "F16":
            return values.astype(np.float16).view(np.uint8), cols
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8), cols
    elements, _ = block_size(name)
    return random_blocks(rng, name, rows * blocks), elements * blocks


@pytest.mark.parametrize("name", [*QUANTIZED, *PLAIN])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_packed_weight_still_holds_the_file_values(name: str, rows: int, blocks: int) -> None:
    raw, cols = raw_rows(name, rows, blocks)
    weight = ops.Weight(type_id(name), rows, cols)
    weight.pack(0, rows, raw)
    assert_same_bits(np.asarray(weight.unpack()).reshape(-1), reference(name, raw))


@pytest.mark.parametrize("name", [*QUANTIZED, *PLAIN])
def test_packing_in_two_parts_is_the_same_as_in_one(name: str) -> None:
    rows, first = 40, 16
    raw, cols = raw_rows(name, rows, 2)
    weight = ops.Weight(type_id(name), rows, cols)
    split = len(raw) // rows * first
    weight.pack(first, rows - first, raw[split:].copy())
    weight.pack(0, first, raw[:split].copy())
    assert_same_bits(np.asarray(weight.unpack()).reshape(-1), reference(name, raw))


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_rows_that_stay_in_place_come_in_any_order(name: str) -> None:
    rows = 24
    raw, cols = raw_rows(name, rows, 2)
    order = np.random.default_rng(5).permutation(rows).astype(np.int32)
    weight = ops.Weight(type_id(name), rows, cols, in_place=True)
    weight.keep(0, rows, raw, order)
    theirs = np.ascontiguousarray(reference(name, raw).reshape(rows, cols)[order])
    assert_same_bits(np.asarray(weight.unpack()), theirs)
