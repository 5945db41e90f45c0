"""Quantized matrices as rows of blocks that the core takes.

Room: loading. Knows the core's types for checkpoints (`core/quants/checkpoint.h`), whose rows it
lays out; must not know families, nor how a checkpoint names its tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import UnsupportedType
from freehold.formats.safetensors import Dtype, SafetensorsTensor
from freehold.loading.quantized.parts import as_array, check_finite, check_shape, read_floats
from freehold.models.base import Shape

__all__ = [
    "Affine",
    "AffineRows",
    "BlockScales",
    "Fp4Rows",
    "Fp8Rows",
    "QuantizedRows",
    "Rounding",
    "global_scale",
]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# The core's types by elements a block, largest first: larger blocks repeat a scale less often.
_INT4 = {128: ops.INT4_X128, 64: ops.INT4_X64, 32: ops.INT4_X32}
_INT8 = {128: ops.INT8_X128, 32: ops.INT8_X32}
_FP8 = {128: ops.FP8_X128, 32: ops.FP8_X32}


@dataclass
class Rounding:
    """What was lost of the scales of a matrix, relative to each; nothing, mostly."""

    largest: float = 0.0
    total: float = 0.0
    count: int = 0

    def add(self, kept: Floats, wanted: Floats) -> None:
        """Takes a part of the matrix into account. Mutates: self."""
        error = np.abs(kept - wanted, dtype=np.float64)
        relative = np.divide(error, np.abs(wanted), out=np.zeros_like(error), where=wanted != 0)
        self.largest = max(self.largest, float(relative.max(initial=0.0)))
        self.total += float(relative.sum())
        self.count += relative.size

    @property
    def mean(self) -> float:
        """The mean over all scales."""
        return self.total / max(1, self.count)


@dataclass
class QuantizedRows(ABC):
    """What all kinds share. `tensors` are the file's, the codes first."""

    is_view: ClassVar[bool] = False

    name: str
    shape: Shape
    tensors: tuple[SafetensorsTensor, ...]
    block_type: int = field(init=False)
    row_bytes: int = field(init=False)
    rounding: Rounding = field(init=False, default_factory=Rounding)

    @property
    def rows(self) -> int:
        """How many rows there are, over all dims but the last."""
        return int(np.prod(self.shape[:-1], dtype=np.int64))

    @property
    def n_bytes(self) -> int:
        """How much memory the rows take in the core."""
        return self.rows * self.row_bytes

    @property
    def file_bytes(self) -> int:
        """How much of the file they are."""
        return sum(tensor.n_bytes for tensor in self.tensors)

    @abstractmethod
    def raw(self, start: int, count: int) -> Bytes:
        """Rows as the core takes them, (count, row_bytes)."""

    def release(self, start: int, count: int) -> None:
        """Gives the file's pages back once the last rows are read."""
        if start + count == self.rows:
            for tensor in self.tensors:
                tensor.release()

    def _blocks(self, kinds: dict[int, int], group: int, own: int, head: int, bits: int) -> int:
        """Chooses the type for groups of so many columns; elements of a block."""
        cols = self.shape[-1]
        for elements, kind in kinds.items():
            if group % elements == 0 and cols % elements == 0:
                self.block_type = kind
                self.row_bytes = own + cols // elements * (head + elements * bits // 8)
                return elements
        raise UnsupportedType(
            f"{self.name} has groups that no kernel takes",
            field=self.name,
            expected="groups, and columns, that are multiples of 32",
            found=f"groups of {group} of {cols} columns",
        )


class Affine(Protocol):
    """A matrix w = scale (code - zero), of one packing or another."""

    @property
    def bits(self) -> int:
        """4 or 8"""

    @property
    def group(self) -> int:
        """How many columns share a scale."""

    def codes(self, start: int, count: int) -> Bytes:
        """Unsigned codes of rows, (count, in); those of 4 bits in pairs, the even one low."""

    def scales(self, start: int, count: int) -> Floats:
        """(count, in / group)"""

    def zeros(self, start: int, count: int) -> Bytes:
        """(count, in / group), or (1, 1) when all are the same"""


@dataclass
class AffineRows(QuantizedRows):
    """Whole numbers with a scale and a zero point for each group of columns."""

    source: Affine

    def __post_init__(self) -> None:
        kinds = _INT4 if self.source.bits == 4 else _INT8
        self._elements = self._blocks(kinds, self.source.group, 4, 3, self.source.bits)

    def raw(self, start: int, count: int) -> Bytes:
        """Rows as the core takes them: factor, then blocks of scale, zero point, codes."""
        factors, halves = self._split(self.source.scales(start, count))
        blocks = self.shape[-1] // self._elements
        each = self.source.group // self._elements
        out = np.empty((count, self.row_bytes), np.uint8)
        out[:, :4] = factors.view(np.uint8)
        body = out[:, 4:].reshape(count, blocks, -1)
        spread = np.repeat(halves, each, axis=1)[:, :, None]
        body[:, :, :2] = np.ascontiguousarray(spread).view(np.uint8)
        zeros = np.broadcast_to(self.source.zeros(start, count), halves.shape)
        body[:, :, 2] = np.repeat(zeros, each, axis=1)
        body[:, :, 3:] = self.source.codes(start, count).reshape(count, blocks, -1)
        assert np.shares_memory(body, out), "the blocks must be a view of the rows"
        return out

    def _split(self, scales: Floats) -> tuple[Floats, NDArray[np.float16]]:
        """A factor for each row and float16 scales whose products are the scales, if any are.

        Mutates: rounding.
        """
        if scales.shape[1] == 1:
            return scales, np.ones(scales.shape, np.float16)
        factors = np.ones((len(scales), 1), np.float32)
        with np.errstate(over="ignore"):
            halves = scales.astype(np.float16)
        odd = (halves.astype(np.float32) != scales).any(axis=1)
        if odd.any():
            # A power of two for each row brings its largest scale to the top of float16's range.
            exponents = np.frexp(np.abs(scales[odd]).max(axis=1, keepdims=True))[1]
            factors[odd] = np.ldexp(np.float32(1), np.maximum(exponents - 15, -126))
            halves[odd] = (scales[odd] / factors[odd]).astype(np.float16)
        self.rounding.add(halves.astype(np.float32) * factors, scales)
        return factors, halves


@dataclass(frozen=True)
class BlockScales:
    """Float scales of (height, width) blocks of each of X matrices (out, in), X being 1 mostly."""

    tensor: SafetensorsTensor
    shape: tuple[int, int, int]  # X, out, in
    height: int
    width: int

    def check(self) -> None:
        """Raises: ShapeMismatch when the tensor has not one scale for each block."""
        x, rows, cols = self.shape
        full: Shape = (x, -(-rows // self.height), -(-cols // self.width))
        shapes = [full] if x > 1 else [full, full[1:]]
        if full[2] == 1:
            shapes.append(full[:2] if x > 1 else full[1:2])
        if full[1:] == (1, 1):
            shapes += [(x,), ()] if x == 1 else [(x,)]
        check_shape(self.tensor, *shapes)

    def of(self, start: int, count: int, elements: int) -> Floats:
        """The scale of each block of `elements` columns of rows, (count, in / elements)."""
        x, rows, cols = self.shape
        array = as_array(self.tensor).reshape(x, -1, -(-cols // self.width))
        row = np.arange(start, start + count)
        kept = array[row // rows, row % rows // self.height]  # (count, blocks of in)
        column = np.arange(0, cols, elements) // self.width
        return read_floats(kept[:, column], self.tensor.dtype, self.tensor.name)


@dataclass
class Fp8Rows(QuantizedRows):
    """8-bit floats with scales."""

    scales: BlockScales

    def __post_init__(self) -> None:
        self._elements = self._blocks(_FP8, self.scales.width, 0, 4, 8)

    def raw(self, start: int, count: int) -> Bytes:
        """Rows as the core takes them: blocks of scale and codes."""
        cols = self.shape[-1]
        codes = as_array(self.tensors[0]).reshape(-1, cols)[start : start + count]
        codes = codes.view(np.uint8)
        check_finite((codes & 127) != 127, self.tensors[0].name)
        scales = self.scales.of(start, count, self._elements)
        out = np.empty((count, cols // self._elements, 4 + self._elements), np.uint8)
        out[:, :, :4] = scales[:, :, None].view(np.uint8)
        out[:, :, 4:] = codes.reshape(count, -1, self._elements)
        return out.reshape(count, -1)

    def release(self, start: int, count: int) -> None:
        """Gives the file's pages of these rows back."""
        _release_rows(self.tensors[0], self.rows, start, count)
        super().release(start, count)


@dataclass
class Fp4Rows(QuantizedRows):
    """E2M1 codes in pairs, the even one low, with 8-bit scales; `tensors` are codes and scales.

    MXFP4 has E8M0 scales of 32 and no factor; NVFP4 E4M3 scales of 16, a factor and a divisor.
    """

    factor: float | None = None
    divisor: float = 1.0

    def __post_init__(self) -> None:
        self._per = 1 if self.factor is None else 2  # scales of 32 elements
        kind = ops.MXFP4_PAIRS if self.factor is None else ops.NVFP4
        own = 0 if self.factor is None else 8
        self._blocks({32: kind}, 32, own, self._per, 4)

    def raw(self, start: int, count: int) -> Bytes:
        """Rows as the core takes them: factor and divisor, then blocks of scales and pairs."""
        cols = self.shape[-1]
        codes, scales = (
            as_array(tensor).view(np.uint8).reshape(self.rows, -1)[start : start + count]
            for tensor in self.tensors[:2]
        )
        none = 255 if self.factor is None else 127  # what is no number, the sign apart
        check_finite((scales & none) != none, self.tensors[1].name)
        out = np.empty((count, self.row_bytes), np.uint8)
        own = self.row_bytes - cols // 32 * (16 + self._per)
        if self.factor is not None:
            out[:, :own] = np.array([self.factor, self.divisor], np.float32).view(np.uint8)
        body = out[:, own:].reshape(count, cols // 32, -1)
        body[:, :, : self._per] = scales.reshape(count, cols // 32, -1)
        body[:, :, self._per :] = codes.reshape(count, cols // 32, -1)
        return out

    def release(self, start: int, count: int) -> None:
        """Gives the file's pages of these rows back."""
        _release_rows(self.tensors[0], self.rows, start, count)
        super().release(start, count)


def _release_rows(tensor: SafetensorsTensor, rows: int, start: int, count: int) -> None:
    row_bytes = tensor.n_bytes // rows
    tensor.release(start * row_bytes, (start + count) * row_bytes)


def global_scale(tensor: SafetensorsTensor) -> float:
    """The one number of a tensor. Raises: ShapeMismatch, BadValue."""
    check_shape(tensor, (), (1,))
    assert tensor.dtype in (Dtype.F32, Dtype.F16, Dtype.BF16), "the caller asked for floats"
    value = float(read_floats(as_array(tensor), tensor.dtype, tensor.name).reshape(-1)[0])
    check_finite(np.array([value != 0.0]), tensor.name)
    return value
