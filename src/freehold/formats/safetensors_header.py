"""One safetensors file's header: free-form metadata, and where each tensor lies.

Room: formats. Must not know families, nor what a tensor is for.

Source: the format section of the safetensors README, and its `attacks/`. As there: the header is
capped, offsets are contiguous from 0 without holes, and the last byte belongs to a tensor.
Stricter than there: a JSON key may not appear twice.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Any

from freehold.errors import (
    BadMagic,
    BadOffset,
    BadValue,
    DuplicateName,
    FormatError,
    LimitExceeded,
    Truncated,
    UnsupportedType,
)
from freehold.formats.mapped_file import clip, label

if TYPE_CHECKING:
    from pathlib import Path

    from freehold.formats.mapped_file import MappedFile

__all__ = ["Dtype", "JsonLimits", "SafetensorsPlace", "parse_json", "read_header"]

# The largest honest header, a whole 256-expert model in one file, is some 7 MB.
MAX_HEADER_BYTES = 32 << 20
# The worst that fits these and the cap above, measured, makes the JSON parser take 510 MB.
MAX_BRACKETS = 1 << 19
MAX_COMMAS = 1 << 21
MAX_TENSORS = 1 << 17
MAX_NAME_BYTES = 1 << 10
MAX_DIMS = 8
MAX_ELEMENTS = (1 << 63) - 1

_DAMAGED = "the file is damaged or hostile"


class Dtype(Enum):
    """How a tensor's elements are stored: the name in the file and the width of one in bits.

    Source: safetensors 0.8.0, `Dtype`.
    """

    BOOL = ("BOOL", 8)
    F4 = ("F4", 4)
    F6_E2M3 = ("F6_E2M3", 6)
    F6_E3M2 = ("F6_E3M2", 6)
    U8 = ("U8", 8)
    I8 = ("I8", 8)
    F8_E5M2 = ("F8_E5M2", 8)
    F8_E4M3 = ("F8_E4M3", 8)
    F8_E8M0 = ("F8_E8M0", 8)
    F8_E4M3FNUZ = ("F8_E4M3FNUZ", 8)
    F8_E5M2FNUZ = ("F8_E5M2FNUZ", 8)
    I16 = ("I16", 16)
    U16 = ("U16", 16)
    F16 = ("F16", 16)
    BF16 = ("BF16", 16)
    I32 = ("I32", 32)
    U32 = ("U32", 32)
    F32 = ("F32", 32)
    C64 = ("C64", 64)
    F64 = ("F64", 64)
    I64 = ("I64", 64)
    U64 = ("U64", 64)

    @property
    def bits(self) -> int:
        """The width of one element."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class SafetensorsPlace:
    """Where a tensor lies in its file. Units: offset in bytes from the start of the file."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


def read_header(file: MappedFile) -> tuple[dict[str, str], tuple[SafetensorsPlace, ...]]:
    """The `__metadata__` and the tensors of one file, in the order of their bytes.

    Raises: FormatError for the first rule that the file breaks.
    """
    path, size_bytes = file.path, file.size_bytes
    if size_bytes < 8:
        raise _truncated(path, 0, 8, size_bytes)
    header_bytes = int.from_bytes(file.map[:8], "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise LimitExceeded(
            "the header is larger than any real file's",
            path=path,
            offset=0,
            field="header length",
            value=header_bytes,
            expected=f"at most {MAX_HEADER_BYTES} bytes",
            found=str(header_bytes),
            hint="check that this is a safetensors file",
        )
    data_start = 8 + header_bytes
    if data_start > size_bytes:
        raise _truncated(path, 8, header_bytes, size_bytes - 8)
    raw = file.map[8:data_start]
    if not raw.startswith(b"{"):
        raise BadMagic(
            "this is not a safetensors file",
            path=path,
            offset=8,
            field="header",
            value=raw[:8],
            expected="a JSON object, beginning with '{'",
            found=repr(raw[:8]),
            hint="check that this is the file you meant",
        )
    table = parse_json(path, raw, offset=8)
    metadata = _metadata(path, table.pop("__metadata__", {}))
    if len(table) > MAX_TENSORS:
        raise LimitExceeded(
            "too many tensors",
            path=path,
            field="header",
            value=len(table),
            expected=f"at most {MAX_TENSORS}",
            found=str(len(table)),
            hint=_DAMAGED,
        )
    places = [_place(path, name, entry, data_start) for name, entry in table.items()]
    return metadata, _check_layout(path, places, data_start, size_bytes)


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """How many opening brackets of each kind, and how many commas, a text of JSON may hold."""

    brackets: int
    commas: int


_HEADER_LIMITS = JsonLimits(MAX_BRACKETS, MAX_COMMAS)


def parse_json(
    path: Path, raw: bytes, *, offset: int, limits: JsonLimits = _HEADER_LIMITS
) -> dict[str, Any]:
    """A JSON object from bytes that nobody vouches for.

    Raises: FormatError when it is not one, is too large to build, or says a key twice.
    """
    brackets, commas = limits.brackets, limits.commas
    for text, limit in ((b"[", brackets), (b"{", brackets), (b",", commas)):
        if raw.count(text) > limit:
            raise LimitExceeded(
                "the JSON holds more values than any real file's",
                path=path,
                offset=offset,
                field="header",
                value=raw.count(text),
                expected=f"at most {limit} of {text.decode()!r}",
                found=str(raw.count(text)),
                hint=_DAMAGED,
            )

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise _duplicate(path, offset, pairs)
        return found

    try:
        table = json.loads(
            raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        # Besides bad syntax: bad UTF-8, numbers of thousands of digits, bottomless nesting.
        raise BadValue(
            "the JSON cannot be read",
            path=path,
            offset=offset,
            field="header",
            expected="a JSON object in UTF-8",
            found=clip(str(error)),
            hint=_DAMAGED,
        ) from error
    if not isinstance(table, dict):
        raise BadValue(
            "the JSON is not an object",
            path=path,
            offset=offset,
            field="header",
            expected="an object",
            found=type(table).__name__,
            hint=_DAMAGED,
        )
    return table


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _duplicate(path: Path, offset: int, pairs: list[tuple[str, Any]]) -> DuplicateName:
    twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return DuplicateName(
        f"the key {label(twice)} appears twice",
        path=path,
        offset=offset,
        field=label(twice),
        value=clip(twice),
        expected="each key once",
        found="a second one",
        hint=_DAMAGED,
    )


def _metadata(path: Path, found: object) -> dict[str, str]:
    if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
        return found
    raise BadValue(
        "the metadata are not text",
        path=path,
        offset=8,
        field="__metadata__",
        value=clip(found) if not isinstance(found, dict) else len(found),
        expected="an object of strings",
        found=f"{type(found).__name__} with other values",
        hint=_DAMAGED,
    )


def _place(path: Path, name: str, entry: object, data_start: int) -> SafetensorsPlace:
    shown = label(name)
    _check_name(path, name)
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _bad(path, shown, "an object of dtype, shape and data_offsets", clip(_keys_of(entry)))
    dtype = Dtype.__members__.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise UnsupportedType(
            f"the tensor {shown} has an unknown dtype",
            path=path,
            offset=8,
            field=f"dtype of {shown}",
            value=clip(entry["dtype"]),
            expected="one of " + ", ".join(Dtype.__members__),
            found=clip(entry["dtype"]),
            hint="the file is damaged, or newer than this version of Freehold",
        )
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or len(shape) > MAX_DIMS or prod(shape) > MAX_ELEMENTS:
        raise _bad(
            path,
            f"shape of {shown}",
            f"at most {MAX_DIMS} whole numbers, {MAX_ELEMENTS} elements in all",
            clip(shape),
        )
    if (
        not _are_counts(offsets)
        or len(offsets) != 2
        or not offsets[0] <= offsets[1] <= MAX_ELEMENTS
    ):
        raise _bad(path, f"data_offsets of {shown}", "[begin, end] in order", clip(offsets))
    n_bytes, odd_bits = divmod(prod(shape) * dtype.bits, 8)
    if odd_bits or offsets[1] - offsets[0] != n_bytes:
        raise BadOffset(
            f"the bytes of {shown} do not match its shape",
            path=path,
            offset=data_start + offsets[0],
            field=f"data_offsets of {shown}",
            value=offsets,
            expected=f"{prod(shape) * dtype.bits / 8:g} bytes for {dtype.name} {clip(shape)}",
            found=f"{offsets[1] - offsets[0]} bytes",
            hint=_DAMAGED,
        )
    return SafetensorsPlace(name, dtype, tuple(shape), data_start + offsets[0], n_bytes)


def _check_name(path: Path, name: str) -> None:
    try:
        n_bytes = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise _bad(path, label(name), "a name in Unicode", "half a surrogate pair") from None
    if not 0 < n_bytes <= MAX_NAME_BYTES:
        raise _bad(path, label(name), f"a name of 1 to {MAX_NAME_BYTES} bytes", f"{n_bytes} bytes")


def _check_layout(
    path: Path, places: list[SafetensorsPlace], data_start: int, size_bytes: int
) -> tuple[SafetensorsPlace, ...]:
    ordered = sorted(places, key=lambda place: (place.offset, place.n_bytes))
    free, before = data_start, "the header"
    for place in ordered:
        if place.offset != free:
            relation = "overlaps" if place.offset < free else "leaves a hole after"
            raise BadOffset(
                f"{label(place.name)} {relation} {before}",
                path=path,
                offset=place.offset,
                field=f"data_offsets of {label(place.name)}",
                value=place.offset - data_start,
                expected=str(free - data_start),
                found=str(place.offset - data_start),
                hint=_DAMAGED,
            )
        free, before = place.offset + place.n_bytes, label(place.name)
        if free > size_bytes:
            raise _truncated(path, place.offset, place.n_bytes, size_bytes - place.offset)
    if free != size_bytes:
        raise BadOffset(
            "the file goes on after its last tensor",
            path=path,
            offset=free,
            field="end of file",
            value=size_bytes,
            expected=f"a file of {free} bytes",
            found=f"{size_bytes} bytes",
            hint="something was appended; fetch the file from its source",
        )
    return tuple(ordered)


def _are_counts(found: object) -> bool:
    return isinstance(found, list) and all(type(n) is int and n >= 0 for n in found)


def _keys_of(entry: object) -> object:
    return sorted(entry)[:5] if isinstance(entry, dict) else type(entry).__name__


def _bad(path: Path, field: str, expected: str, found: str) -> FormatError:
    return BadValue(
        "a tensor's entry is not usable",
        path=path,
        offset=8,
        field=field,
        value=found,
        expected=expected,
        found=found,
        hint=_DAMAGED,
    )


def _truncated(path: Path, offset: int, needed: int, left: int) -> FormatError:
    return Truncated(
        "the file ends too early",
        path=path,
        offset=offset,
        field="end of file",
        value=needed,
        expected=f"{needed} bytes",
        found=f"{max(0, left)} to the end of the file",
        hint="the download may be incomplete; fetch it again",
    )
