"""The ways in which checkpoints pack whole numbers: GPTQ, AWQ, compressed-tensors.

Room: loading. Knows bits and shapes; must not know families, names of tensors, configurations.
Sources: gptqmodel's and AutoAWQ's gemm packers as vLLM 0.13 unpacks them; compressed-tensors 0.20,
`compressors/pack_quantized`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadValue
from freehold.formats.safetensors import SafetensorsTensor
from freehold.loading.quantized.parts import as_array, nibbles, read_floats

__all__ = ["AwqGemm", "Bytes8", "Gptq", "PackedInts"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Which nibble of a word holds its eight outputs: 0 lies first, 1 fifth, and so on.
_AWQ_ORDER = np.array([0, 4, 1, 5, 2, 6, 3, 7])


@dataclass(frozen=True)
class Gptq:
    """qweight (in / n, out) packs n of a column; qzeros (groups, out / n); scales (groups, out).

    `plus` is what is added to a zero point: 1 in the first version of the format, where 15 stands
    for 16 as vLLM reads it.
    """

    bits: int
    group: int
    plus: int
    qweight: SafetensorsTensor
    qzeros: SafetensorsTensor
    scale: SafetensorsTensor

    def codes(self, start: int, count: int) -> Bytes:
        """Unsigned codes of rows, in the order of the file's bits."""
        words = as_array(self.qweight)[:, start : start + count]  # (in / n, count)
        return np.ascontiguousarray(words.T).view(np.uint8)

    def scales(self, start: int, count: int) -> Floats:
        """(count, groups)"""
        kept = as_array(self.scale)[:, start : start + count].T
        return read_floats(np.ascontiguousarray(kept), self.scale.dtype, self.scale.name)

    def zeros(self, start: int, count: int) -> Bytes:
        """(count, groups). Raises: BadValue for 256, of which no byte can hold the place."""
        packed = np.ascontiguousarray(as_array(self.qzeros)).view(np.uint8)  # (groups, bytes)
        kept = (nibbles(packed) if self.bits == 4 else packed)[:, start : start + count]
        if self.plus and (kept == 255).any():
            raise BadValue(
                f"{self.qzeros.name} has a zero point beyond the codes",
                field=self.qzeros.name,
                expected="zero points up to 255",
                found="256",
                hint="save the checkpoint as gptq_v2, which says zero points as they are",
            )
        return (kept + np.uint8(self.plus)).T


@dataclass(frozen=True)
class AwqGemm:
    """qweight (in, out / 8) packs eight outputs, out of order; qzeros (groups, out / 8) alike."""

    group: int
    qweight: SafetensorsTensor
    qzeros: SafetensorsTensor | None
    scale: SafetensorsTensor
    bits: int = 4

    def codes(self, start: int, count: int) -> Bytes:
        """Unsigned codes of rows, in pairs."""
        codes = _awq_columns(self.qweight, start, count)  # (in, count)
        packed = codes[::2] | codes[1::2] << np.uint8(4)
        return np.ascontiguousarray(packed.T, np.uint8)

    def scales(self, start: int, count: int) -> Floats:
        """(count, groups)"""
        kept = as_array(self.scale)[:, start : start + count].T
        return read_floats(np.ascontiguousarray(kept), self.scale.dtype, self.scale.name)

    def zeros(self, start: int, count: int) -> Bytes:
        """(count, groups), or 8 for all when there are none."""
        if self.qzeros is None:
            return np.full((1, 1), 8, np.uint8)
        return _awq_columns(self.qzeros, start, count).T


def _awq_columns(tensor: SafetensorsTensor, start: int, count: int) -> Bytes:
    """Columns [start, start + count) of eight to a word, (n, count)."""
    first, last = start // 8, -(-(start + count) // 8)
    words = np.ascontiguousarray(as_array(tensor)[:, first:last])
    codes = nibbles(words.view(np.uint8)).reshape(len(words), -1, 8)[:, :, _AWQ_ORDER]
    return codes.reshape(len(words), -1)[:, start - 8 * first : start - 8 * first + count]


@dataclass(frozen=True)
class PackedInts:
    """weight_packed (out, in bits / 32) along a row; weight_zero_point packed along rows, or not.

    Codes and packed zero points are kept with 2^(bits - 1) added; unpacked zero points without.
    """

    bits: int
    group: int
    packed: SafetensorsTensor
    scale: SafetensorsTensor
    zero: SafetensorsTensor | None
    columns: int

    def codes(self, start: int, count: int) -> Bytes:
        """Unsigned codes of rows, in the order of the file's bits."""
        words = np.ascontiguousarray(as_array(self.packed)[start : start + count])
        return words.view(np.uint8)[:, : self.columns * self.bits // 8]

    def scales(self, start: int, count: int) -> Floats:
        """(count, groups)"""
        return _row_scales(self.scale, start, count)

    def zeros(self, start: int, count: int) -> Bytes:
        """(count, groups), or the middle for all when there are none."""
        if self.zero is None or self.zero.dtype.bits == 8:
            return _plain_zeros(self.zero, start, count, self.bits)
        per = 32 // self.bits
        row = np.arange(start, start + count)[:, None]
        words = as_array(self.zero).view(np.uint32)[row[:, 0] // per]
        shifts = (row % per * self.bits).astype(np.uint32)
        mask = np.uint32(2**self.bits - 1)
        return np.asarray(words >> shifts & mask, np.uint8)


@dataclass(frozen=True)
class Bytes8:
    """weight (out, in) of signed bytes, weight_scale (out, groups), weight_zero_point alike."""

    group: int
    weight: SafetensorsTensor
    scale: SafetensorsTensor
    zero: SafetensorsTensor | None
    bits: int = 8

    def codes(self, start: int, count: int) -> Bytes:
        """Unsigned codes of rows: 128 more than the file's."""
        codes: Bytes = as_array(self.weight)[start : start + count].view(np.uint8) ^ np.uint8(128)
        return codes

    def scales(self, start: int, count: int) -> Floats:
        """(count, groups)"""
        return _row_scales(self.scale, start, count)

    def zeros(self, start: int, count: int) -> Bytes:
        """(count, groups), or 128 for all when there are none."""
        return _plain_zeros(self.zero, start, count, 8)


def _row_scales(tensor: SafetensorsTensor, start: int, count: int) -> Floats:
    """Scales of rows; a tensor of one number is everyone's."""
    array = as_array(tensor)
    kept = array.reshape(1, 1) if array.size == 1 else array.reshape(len(array), -1)
    kept = np.broadcast_to(kept, (start + count, kept.shape[1])) if array.size == 1 else kept
    part = np.ascontiguousarray(kept[start : start + count])
    return read_floats(part, tensor.dtype, tensor.name)


def _plain_zeros(tensor: SafetensorsTensor | None, start: int, count: int, bits: int) -> Bytes:
    """Signed zero points as unsigned codes."""
    middle = 2 ** (bits - 1)
    if tensor is None:
        return np.full((1, 1), middle, np.uint8)
    array = as_array(tensor)
    kept = array.reshape(1, 1) if array.size == 1 else array.reshape(len(array), -1)
    if array.size > 1:
        kept = kept[start : start + count]
    return np.asarray(kept.astype(np.int16) + middle, np.uint8)
