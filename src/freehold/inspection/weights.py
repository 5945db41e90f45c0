"""An open model as named tensors that give floats, whatever its format.

Room: inspection. Knows formats; must not know what a tensor is for.
Peak memory: what a caller reads at once; pages of the file are given back after each reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.formats.gguf import GgufFile, GgufTensor, open_gguf
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import Dtype, SafetensorsFile, SafetensorsTensor, open_safetensors
from freehold.loading import weights_file

__all__ = ["CHUNK", "Floats", "OpenModel", "OpenTensor", "open_model"]

Floats = NDArray[np.float32]

CHUNK = 1 << 17  # values read at once: 512 KiB of float32, a multiple of every block


def _minifloat(exponent_bits: int, mantissa_bits: int, bias: int, *, nan_at: set[int]) -> Floats:
    """What each byte of an 8-bit float, or of a 4-bit one, stands for."""
    width = 1 + exponent_bits + mantissa_bits
    codes = np.arange(1 << width)
    mantissa = (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    exponent = (codes >> mantissa_bits) & ((1 << exponent_bits) - 1)
    plain = np.where(
        exponent > 0,
        (1 + mantissa) * 2.0 ** (exponent - bias),
        mantissa * 2.0 ** (1.0 - bias),
    )
    values = np.where(codes >> (width - 1), -plain, plain)
    values[list(nan_at)] = np.nan
    return values.astype(np.float32)


def _e5m2() -> Floats:
    values = _minifloat(5, 2, 15, nan_at={0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF})
    values[[0x7C, 0xFC]] = np.inf, -np.inf
    return values


# Source: the OCP 8-bit and microscaling formats; FNUZ as in arXiv 2206.02915.
_TABLES = {
    Dtype.F8_E4M3: _minifloat(4, 3, 7, nan_at={0x7F, 0xFF}),
    Dtype.F8_E5M2: _e5m2(),
    Dtype.F8_E4M3FNUZ: _minifloat(4, 3, 8, nan_at={0x80}),
    Dtype.F8_E5M2FNUZ: _minifloat(5, 2, 16, nan_at={0x80}),
    # The last code is NaN; 2^127 and 2^-127 fit a float32.
    Dtype.F8_E8M0: np.append(np.float32(2.0) ** np.arange(-127, 128), np.nan).astype(np.float32),
}
_PLAIN: Mapping[Dtype, str] = {
    Dtype.BOOL: "u1",
    Dtype.U8: "u1",
    Dtype.I8: "i1",
    Dtype.U16: "<u2",
    Dtype.I16: "<i2",
    Dtype.F16: "<f2",
    Dtype.U32: "<u4",
    Dtype.I32: "<i4",
    Dtype.F32: "<f4",
    Dtype.U64: "<u8",
    Dtype.I64: "<i8",
    Dtype.F64: "<f8",
}
_FP4 = _minifloat(2, 1, 1, nan_at=set())
_CODES = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})


@dataclass(frozen=True)
class OpenTensor:
    """A tensor of an open file: what it is, and its values when asked for."""

    name: str
    shape: tuple[int, ...]
    type: str
    n_bytes: int
    _stored: GgufTensor | SafetensorsTensor

    @property
    def elements(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def bits(self) -> float:
        """Bits of the file for one value."""
        return 8 * self.n_bytes / max(self.elements, 1)

    @property
    def are_codes(self) -> bool:
        """Whether its values are whole numbers, which stand for weights by a rule of their own."""
        return self.type in _CODES

    @property
    def readable(self) -> bool:
        """Whether its values can be read; false for complex and 6-bit floats."""
        stored = self._stored
        if isinstance(stored, GgufTensor):
            return True
        return stored.dtype in _PLAIN or stored.dtype in _TABLES or self.type in ("BF16", "F4")

    def read(self, start: int, count: int) -> Floats:
        """Values `start` to `start + count` in the file's order; `start` a multiple of 256."""
        stored = self._stored
        if isinstance(stored, GgufTensor):
            return _gguf_values(stored, start, count)
        return _safetensors_values(stored, start, count)

    def raw(self, start: int, count: int) -> NDArray[np.uint8]:
        """The bytes of the same values."""
        first, last = self._bounds(start, count)
        return self._stored.data()[first:last]

    def release(self, start: int, count: int) -> None:
        """Gives the file's pages of these values back."""
        self._stored.release(*self._bounds(start, count))

    def _bounds(self, start: int, count: int) -> tuple[int, int]:
        # Blocks never straddle a start that is a multiple of 256.
        elements = max(self.elements, 1)
        return start * self.n_bytes // elements, (start + count) * self.n_bytes // elements


def _gguf_values(tensor: GgufTensor, start: int, count: int) -> Floats:
    kind = tensor.type
    first = start // kind.block_elements * kind.block_bytes
    last = (start + count) // kind.block_elements * kind.block_bytes
    return ops.dequantize(int(kind), tensor.data()[first:last], count).reshape(-1)


def _safetensors_values(tensor: SafetensorsTensor, start: int, count: int) -> Floats:
    dtype, data = tensor.dtype, tensor.data()
    if dtype is Dtype.F4:
        pairs = data[start // 2 : (start + count + 1) // 2]
        codes = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[:count]
        return _FP4[codes]
    size = dtype.bits // 8
    part = data[start * size : (start + count) * size]
    if dtype is Dtype.BF16:
        return (part.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype in _TABLES:
        return _TABLES[dtype][part]
    with np.errstate(over="ignore"):  # a float64 beyond float32 is shown as infinite
        return part.view(_PLAIN[dtype]).astype(np.float32)


class OpenModel:
    """An open file or directory. Use it in a `with`.

    `metadata` are a GGUF file's, or a directory's config.json; `architecture` is what they name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: Mapping[str, object] = {}
        self._file: GgufFile | SafetensorsFile
        if path.is_dir():
            self.format = "safetensors"
            self.metadata = read_json_object(path / "config.json")
            self.architecture = str(self.metadata.get("model_type") or "")
            self._file = open_safetensors(weights_file(path))
        elif path.suffix in (".safetensors", ".json"):
            self.format, self.architecture = "safetensors", ""
            self._file = open_safetensors(path)
            self.metadata = dict(self._file.metadata)
        else:
            self.format = "GGUF"
            file = open_gguf(path)
            self._file, self.metadata, self.architecture = file, file.metadata, file.architecture
        self.size_bytes = self._file.size_bytes
        try:
            self.tensors = {name: _opened(found) for name, found in self._found()}
        except BaseException:
            self.close()
            raise

    def _found(self) -> list[tuple[str, Any]]:
        return list(self._file.tensors.items())

    def close(self) -> None:
        """Gives the mappings back; tensors cannot be read any more."""
        self._file.close()

    def __enter__(self) -> OpenModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _opened(stored: GgufTensor | SafetensorsTensor) -> OpenTensor:
    kind = stored.type.name if isinstance(stored, GgufTensor) else stored.dtype.name
    return OpenTensor(stored.name, tuple(stored.shape), kind, stored.n_bytes, stored)


def open_model(path: Path) -> OpenModel:
    """Opens a GGUF file, a safetensors file or index, or a directory with config.json.

    Raises: FormatError for whatever the bytes break; BadConfig for a directory without weights.
    """
    return OpenModel(path)
