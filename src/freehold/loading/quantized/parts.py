"""The tensors of a checkpoint that form one matrix, asked for by part and checked.

Room: loading. Must not know any family, nor one way to quantize from another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadValue, MissingTensor, ShapeMismatch, UnsupportedType
from freehold.formats.safetensors import Dtype, SafetensorsTensor

__all__ = [
    "FLOATS",
    "Array",
    "Parts",
    "as_array",
    "check_finite",
    "check_shape",
    "nibbles",
    "read_floats",
]

Array = NDArray[Any]
FLOATS = (Dtype.F16, Dtype.BF16, Dtype.F32)
_NUMPY = {
    Dtype.U8: "<u1",
    Dtype.I8: "<i1",
    Dtype.I32: "<i4",
    Dtype.I64: "<i8",
    Dtype.F16: "<f2",
    Dtype.F32: "<f4",
    Dtype.BF16: "<u2",
    Dtype.F8_E4M3: "<u1",
    Dtype.F8_E8M0: "<u1",
}


@dataclass(frozen=True)
class Parts:
    """One quantized matrix: its name as a float checkpoint has it, and its tensors by part."""

    name: str
    found: Mapping[str, SafetensorsTensor]

    def need(self, part: str, dtypes: tuple[Dtype, ...]) -> SafetensorsTensor:
        """A part that must be there. Raises: MissingTensor, UnsupportedType."""
        tensor = self.get(part, dtypes)
        if tensor is None:
            raise MissingTensor(
                f"{self.name} is quantized, but its {part} is missing",
                tensor=self.name,
                expected=part,
                found=", ".join(sorted(self.found)),
                hint="files of two models were mixed, or one was saved in part",
            )
        return tensor

    def get(self, part: str, dtypes: tuple[Dtype, ...]) -> SafetensorsTensor | None:
        """A part that may be there. Raises: UnsupportedType."""
        tensor = self.found.get(part)
        if tensor is not None and tensor.dtype not in dtypes:
            raise UnsupportedType(
                f"{tensor.name} has a type that this quantization does not use",
                field=tensor.name,
                expected=" or ".join(dtype.name for dtype in dtypes),
                found=tensor.dtype.name,
            )
        return tensor


def check_shape(tensor: SafetensorsTensor, *shapes: tuple[int, ...]) -> None:
    """Raises: ShapeMismatch when the tensor has none of these shapes."""
    if tensor.shape not in shapes:
        raise ShapeMismatch(
            f"{tensor.name} does not fit the matrix it belongs to",
            tensor=tensor.name,
            expected=" or ".join(map(str, shapes)),
            found=str(tensor.shape),
            hint="the group size or the shape that the checkpoint claims is not the real one",
        )


def as_array(tensor: SafetensorsTensor) -> Array:
    """The tensor's elements as whole numbers or floats; 16- and 8-bit floats as their bits."""
    return tensor.data().view(_NUMPY[tensor.dtype]).reshape(tensor.shape)


def read_floats(array: Array, dtype: Dtype, name: str) -> NDArray[np.float32]:
    """Elements that `as_array` gave, as float32, exactly. Raises: BadValue unless finite."""
    if dtype is Dtype.BF16:
        values = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    elif dtype is Dtype.F8_E8M0:
        exponents = array.astype(np.int32)
        values = np.ldexp(np.float32(1), exponents - 127).astype(np.float32)
        values[exponents == 255] = np.nan
    else:
        values = array.astype(np.float32)
    check_finite(np.isfinite(values), name)
    return values


def check_finite(finite: NDArray[np.bool_], name: str) -> None:
    """Raises: BadValue unless all are."""
    if not finite.all():
        raise BadValue(
            f"{name} holds numbers that are not finite",
            field=name,
            expected="finite numbers",
            hint="the file is damaged",
        )


def nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The four-bit codes of bytes, the low one first: (..., n) -> (..., 2 n)."""
    codes = np.empty((*packed.shape[:-1], 2 * packed.shape[-1]), np.uint8)
    codes[..., ::2] = packed & 15
    codes[..., 1::2] = packed >> 4
    return codes
