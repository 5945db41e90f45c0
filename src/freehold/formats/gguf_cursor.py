"""Reads a GGUF header front to back: the only place where its bytes become numbers and text.

Room: formats. Knows GGUF's scalars, strings and arrays; must not know keys or tensors.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadValue, FormatError, LimitExceeded, Truncated, UnsupportedType
from freehold.formats.mapped_file import clip

if TYPE_CHECKING:
    from freehold.formats.mapped_file import MappedFile

__all__ = ["GgufCursor", "MetadataArray", "MetadataValue"]

MetadataArray = NDArray[np.generic] | tuple[str, ...]
MetadataValue = bool | int | float | str | MetadataArray

# The largest honest headers are 260,000-token vocabularies with their merges, plus an embedded
# tokenizer.json: some 50 MB and 900,000 strings. The worst that fits these caps, measured with
# short and with wide strings, takes 520 MB.
MAX_HEADER_BYTES = 96 << 20
MAX_STRING_BYTES = 64 << 20
MAX_STRINGS_IN_ARRAYS = 3_000_000

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_NUMBERS: dict[int, np.dtype[Any]] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
_BOOL, _STRING, _ARRAY = 7, 8, 9


class GgufCursor:
    """A position in a header that never passes the file's end or the header cap.

    Mutates: itself; every read moves it on.
    Raises: FormatError, from every method.
    """

    def __init__(self, file: MappedFile) -> None:
        self.position = 0
        self.path: Path = file.path
        self._map = file.map
        self._size_bytes = file.size_bytes
        self._limit = min(file.size_bytes, MAX_HEADER_BYTES)
        self._strings_left = MAX_STRINGS_IN_ARRAYS

    def error(  # noqa: PLR0913 - an error carries its facts flat, for whoever reports it
        self,
        kind: type[FormatError],
        message: str,
        field: str,
        *,
        offset: int | None = None,
        value: object = None,
        expected: str,
        found: str,
        hint: str,
    ) -> FormatError:
        """An error of this file, to raise; the place is the current position unless given."""
        at = self.position if offset is None else offset
        return kind(
            message,
            path=self.path,
            offset=at,
            field=field,
            value=value,
            expected=expected,
            found=found,
            hint=hint,
        )

    def count(self, field: str, *, limit: int, least_bytes: int) -> int:
        """A u64 that announces items of at least `least_bytes` each, checked against the file."""
        at = self.position
        n = self.u64(field)
        if n > limit:
            raise self.error(
                LimitExceeded,
                "a count is larger than any real file's",
                field,
                offset=at,
                value=n,
                expected=f"at most {limit}",
                found=str(n),
                hint="the file is damaged or hostile",
            )
        self.need(n * least_bytes, field)
        return n

    def need(self, n_bytes: int, field: str) -> None:
        """Make sure that so many bytes follow."""
        end = self.position + n_bytes
        if end <= self._limit:
            return
        if end > self._size_bytes:
            raise self.error(
                Truncated,
                "the file ends inside its header",
                field,
                value=n_bytes,
                expected=f"{n_bytes} more bytes",
                found=f"{self._size_bytes - self.position} to the end of the file",
                hint="the download may be incomplete; fetch it again",
            )
        raise self.error(
            LimitExceeded,
            "the header is larger than any real file's",
            field,
            value=n_bytes,
            expected=f"a header of at most {MAX_HEADER_BYTES} bytes",
            found=f"at least {end}",
            hint="the file is damaged or hostile",
        )

    def raw(self, n_bytes: int, field: str) -> bytes:
        """The next bytes as they are."""
        self.need(n_bytes, field)
        start = self.position
        self.position = start + n_bytes
        return self._map[start : self.position]

    def u32(self, field: str) -> int:
        """An unsigned 32-bit number."""
        number: int = _U32.unpack(self.raw(4, field))[0]
        return number

    def u64(self, field: str) -> int:
        """An unsigned 64-bit number."""
        number: int = _U64.unpack(self.raw(8, field))[0]
        return number

    def string(self, field: str, *, longest: int = MAX_STRING_BYTES) -> str:
        """A string: its length in bytes as u64, then UTF-8."""
        n_bytes = self.count(field, limit=longest, least_bytes=1)
        start = self.position
        try:
            return self.raw(n_bytes, field).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._bad_utf8(field, start, error) from error

    def value(self, field: str) -> MetadataValue:
        """A metadata value: its type as u32, then the scalar, string or array."""
        at = self.position
        kind = self.u32(field)
        if kind in _NUMBERS:
            dtype = _NUMBERS[kind]
            number: int | float = np.frombuffer(self.raw(dtype.itemsize, field), dtype)[0].item()
            return number
        if kind == _BOOL:
            return bool(self._bools(1, field)[0])
        if kind == _STRING:
            return self.string(field)
        if kind == _ARRAY:
            return self._array(field)
        raise self._bad_kind(kind, at, field)

    def _array(self, field: str) -> MetadataArray:
        at = self.position
        kind = self.u32(field)
        if kind == _STRING:
            return self._strings(field)
        if kind == _BOOL:
            return self._bools(self._array_length(field, 1), field)
        if kind == _ARRAY:
            raise self.error(
                UnsupportedType,
                "an array of arrays",
                field,
                offset=at,
                value=kind,
                expected="an array of numbers, booleans or strings",
                found="an array of arrays",
                hint="no known model needs one; the file is damaged or hostile",
            )
        if kind not in _NUMBERS:
            raise self._bad_kind(kind, at, field)
        dtype = _NUMBERS[kind]
        n = self._array_length(field, dtype.itemsize)
        # Over bytes, so read-only already, and independent of the mapping.
        array: NDArray[np.generic] = np.frombuffer(self.raw(n * dtype.itemsize, field), dtype)
        return array

    def _array_length(self, field: str, item_bytes: int) -> int:
        return self.count(field, limit=MAX_HEADER_BYTES, least_bytes=item_bytes)

    def _bools(self, n: int, field: str) -> NDArray[np.generic]:
        start = self.position
        array = np.frombuffer(self.raw(n, field), np.uint8)
        if n and int(array.max()) > 1:
            wrong = int(np.argmax(array > 1))
            raise self.error(
                BadValue,
                "a boolean is neither 0 nor 1",
                field,
                offset=start + wrong,
                value=int(array[wrong]),
                expected="0 or 1",
                found=str(int(array[wrong])),
                hint="the file is damaged or hostile",
            )
        return array.view(np.bool_)

    def _strings(self, field: str) -> tuple[str, ...]:
        """An array of strings; the one hot loop of opening a file, so its locals are unrolled."""
        n = self.count(field, limit=self._strings_left, least_bytes=8)
        self._strings_left -= n
        strings: list[str] = []
        append, unpack, mapped, limit = strings.append, _U64.unpack_from, self._map, self._limit
        position = self.position
        try:
            for _ in range(n):
                start = position + 8
                if start > limit:
                    break
                position = start + unpack(mapped, position)[0]
                if position > limit:
                    position = start - 8
                    break
                append(str(mapped[start:position], "utf-8"))
        except UnicodeDecodeError as error:
            raise self._bad_utf8(f"{field}[{len(strings)}]", start, error) from error
        self.position = position
        if len(strings) < n:
            # Read again, slowly, for its error.
            self.string(f"{field}[{len(strings)}]")
        return tuple(strings)

    def _bad_utf8(self, field: str, start: int, error: UnicodeDecodeError) -> FormatError:
        wrong = error.object[error.start]
        return self.error(
            BadValue,
            "a string is not UTF-8",
            field,
            offset=start + error.start,
            value=clip(error.object[max(0, error.start - 8) : error.start + 8]),
            expected="UTF-8",
            found=f"byte 0x{wrong:02x}",
            hint="the file is damaged or hostile",
        )

    def _bad_kind(self, kind: int, at: int, field: str) -> FormatError:
        return self.error(
            UnsupportedType,
            "a metadata value of unknown type",
            field,
            offset=at,
            value=kind,
            expected="a type from 0 to 12",
            found=str(kind),
            hint="the file is damaged, or newer than this version of Freehold",
        )
