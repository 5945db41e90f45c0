"""One GGUF file's header: version, metadata, and where each tensor lies.

Room: formats. Must not know what a key or a tensor is for, save `general.alignment`.

Source: ggml's docs/gguf.md and gguf.cpp (llama.cpp at 0c1e57098). Like ggml, and unlike the
specification's letter, tensor data must be contiguous: each tensor begins at the first aligned
byte after the one before it. The last one may be padded to the alignment too; any further bytes
after it are refused, because nothing that reads the model would ever look at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from freehold.errors import (
    BadMagic,
    BadOffset,
    BadValue,
    DuplicateName,
    FormatError,
    LimitExceeded,
    Truncated,
    UnsupportedType,
    UnsupportedVersion,
)
from freehold.formats.block_types import BlockType, block_type, block_type_name
from freehold.formats.gguf_cursor import GgufCursor, MetadataValue
from freehold.formats.mapped_file import clip, label

if TYPE_CHECKING:
    from freehold.formats.mapped_file import MappedFile

__all__ = ["GgufHeader", "TensorPlace", "read_header", "read_opening"]

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17  # a 256-expert model that was never merged has some 50,000
MAX_KEY_BYTES = 1 << 10
MAX_NAME_BYTES = 255  # ggml's own limit is 63; some of its forks are built with more
MAX_DIMS = 4
MAX_ELEMENTS = (1 << 63) - 1
MAX_ALIGNMENT = 1 << 16
MIN_ALIGNMENT = 8
DEFAULT_ALIGNMENT = 32

_DAMAGED = "the file is damaged or hostile"
# What people pass by mistake, by the first four bytes.
_OTHER_FORMATS = {
    b"ggml": "a GGML file, older than GGUF: convert the model again",
    b"lmgg": "a GGML file, older than GGUF: convert the model again",
    b"fmgg": "a GGML file, older than GGUF: convert the model again",
    b"tjgg": "a GGML file, older than GGUF: convert the model again",
    b"PK\x03\x04": "a zip archive, perhaps a PyTorch checkpoint: convert it to GGUF",
    b"vers": "perhaps a Git LFS pointer instead of the file: fetch the file itself",
    b"<!DO": "a web page instead of the file: check the address it came from",
    b"<htm": "a web page instead of the file: check the address it came from",
}


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where a tensor lies in its file.

    Shapes: row-major, (out, in) for a matrix; GGUF's reversed order is undone here.
    Units: offset in bytes from the start of the file.
    """

    name: str
    type: BlockType
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a file says before its tensor data; `tensors` in the file's order.

    `spans` are where each metadata value lies: first byte of its type, first byte after it.
    """

    version: int
    alignment: int
    metadata: dict[str, MetadataValue]
    tensors: tuple[TensorPlace, ...]
    spans: dict[str, tuple[int, int]]


def read_header(file: MappedFile) -> GgufHeader:
    """Read and judge the header of one file.

    Raises: FormatError for the first rule that the file breaks.
    Peak memory: 520 MB for the worst header, measured; twice its strings for an honest one.
    """
    cursor = GgufCursor(file)
    version = _read_version(cursor)
    # The least tensor: name length, one letter, dimension count, type, offset.
    num_tensors = cursor.count("tensor count", limit=MAX_TENSORS, least_bytes=25)
    num_keys = cursor.count("metadata count", limit=MAX_KEYS, least_bytes=14)
    spans: dict[str, tuple[int, int]] = {}
    metadata = _read_metadata(cursor, num_keys, spans)
    alignment = _alignment(cursor, metadata)
    places = [_read_place(cursor, i, num_tensors) for i in range(num_tensors)]
    data_start = _align(cursor.position, alignment)
    placed = _check_layout(cursor, places, data_start, alignment, file.size_bytes)
    file.release(0, cursor.position)
    return GgufHeader(version, alignment, metadata, placed, spans)


def read_opening(file: MappedFile, *, until: str) -> dict[str, MetadataValue]:
    """The metadata before the first key that begins with `until`; nothing after it is judged.

    Raises: FormatError for the first rule that this part breaks.
    """
    cursor = GgufCursor(file)
    _read_version(cursor)
    cursor.count("tensor count", limit=MAX_TENSORS, least_bytes=25)
    num_keys = cursor.count("metadata count", limit=MAX_KEYS, least_bytes=14)
    return _read_metadata(cursor, num_keys, {}, until=until)


def _read_version(cursor: GgufCursor) -> int:
    magic = cursor.raw(4, "magic")
    if magic != b"GGUF":
        raise cursor.error(
            BadMagic,
            "this is not a GGUF file",
            "magic",
            offset=0,
            value=magic,
            expected="the bytes b'GGUF'",
            found=repr(magic),
            hint=_OTHER_FORMATS.get(magic, "check that this is the file you meant"),
        )
    version = cursor.u32("version")
    if version in (2, 3):
        return version
    swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
    if swapped in (2, 3):
        found, hint = f"version {swapped}, big-endian", "convert it with gguf-convert-endian"
    elif version == 1:
        found, hint = "version 1", "its 32-bit counts ended in August 2023; convert the model again"
    else:
        found, hint = f"version {version}", "a newer Freehold may read it, if it is not damaged"
    raise cursor.error(
        UnsupportedVersion,
        "this GGUF version is not supported",
        "version",
        offset=4,
        value=version,
        expected="version 2 or 3, little-endian",
        found=found,
        hint=hint,
    )


def _read_metadata(
    cursor: GgufCursor,
    num_keys: int,
    spans: dict[str, tuple[int, int]],
    *,
    until: str | None = None,
) -> dict[str, MetadataValue]:
    """Mutates: spans."""
    metadata: dict[str, MetadataValue] = {}
    for i in range(num_keys):
        at = cursor.position
        key = cursor.string(f"key {i} of {num_keys}", longest=MAX_KEY_BYTES)
        if not key:
            raise _empty_name(cursor, f"key {i} of {num_keys}", at)
        if key in metadata:
            raise cursor.error(
                DuplicateName,
                f"the metadata key {label(key)} appears twice",
                label(key),
                offset=at,
                value=key,
                expected="each key once",
                found="a second one",
                hint=_DAMAGED,
            )
        if until is not None and key.startswith(until):
            break
        at = cursor.position
        metadata[key] = cursor.value(label(key))
        spans[key] = (at, cursor.position)
    return metadata


def _alignment(cursor: GgufCursor, metadata: dict[str, MetadataValue]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if (
        not isinstance(value, int)
        or not MIN_ALIGNMENT <= value <= MAX_ALIGNMENT
        or value & (value - 1)
    ):
        raise cursor.error(
            BadValue,
            "the alignment is not usable",
            "general.alignment",
            value=clip(value),
            expected=f"a power of two from {MIN_ALIGNMENT} to {MAX_ALIGNMENT}",
            found=clip(value),
            hint=_DAMAGED,
        )
    return value


def _read_place(cursor: GgufCursor, index: int, num_tensors: int) -> TensorPlace:
    """One tensor's entry; its offset still counts from the start of the tensor data."""
    at = cursor.position
    field = f"name of tensor {index} of {num_tensors}"
    name = cursor.string(field, longest=MAX_NAME_BYTES)
    if not name:
        raise _empty_name(cursor, field, at)
    shown = label(name)
    shape_at = cursor.position
    shape = _read_shape(cursor, shown)
    at = cursor.position
    kind = cursor.u32(f"type of {shown}")
    block = block_type(kind)
    if block is None:
        raise cursor.error(
            UnsupportedType,
            f"the tensor {shown} has a block type without a kernel",
            f"type of {shown}",
            offset=at,
            value=kind,
            expected="one of " + ", ".join(member.name for member in BlockType),
            found=f"{kind} ({block_type_name(kind)})",
            hint="fetch or make the model in one of the expected types, Q4_K_M for example",
        )
    row = shape[-1] if shape else 1
    if row % block.block_elements:
        raise cursor.error(
            BadValue,
            f"the rows of {shown} are not whole blocks",
            f"dimensions of {shown}",
            offset=shape_at,
            value=row,
            expected=f"a multiple of {block.block_elements} elements for {block.name}",
            found=f"{row} elements",
            hint=_DAMAGED,
        )
    n_bytes = prod(shape) // block.block_elements * block.block_bytes
    return TensorPlace(name, block, shape, cursor.u64(f"offset of {shown}"), n_bytes)


def _read_shape(cursor: GgufCursor, shown: str) -> tuple[int, ...]:
    field = f"dimensions of {shown}"
    at = cursor.position
    num_dims = cursor.u32(field)
    if num_dims > MAX_DIMS:
        raise cursor.error(
            LimitExceeded,
            f"{shown} has too many dimensions",
            field,
            offset=at,
            value=num_dims,
            expected=f"at most {MAX_DIMS}",
            found=str(num_dims),
            hint=_DAMAGED,
        )
    shape = tuple(cursor.u64(field) for _ in range(num_dims))[::-1]
    if not 0 < prod(shape) <= MAX_ELEMENTS:
        raise cursor.error(
            BadValue,
            f"{shown} has an impossible shape",
            field,
            offset=at,
            value=shape,
            expected=f"from 1 to {MAX_ELEMENTS} elements",
            found=f"shape {shape}",
            hint=_DAMAGED,
        )
    return shape


def _check_layout(
    cursor: GgufCursor,
    places: list[TensorPlace],
    data_start: int,
    alignment: int,
    size_bytes: int,
) -> tuple[TensorPlace, ...]:
    """Hold the tensors to contiguity; give them back with offsets from the file's start."""
    _check_names(cursor, places)
    free = data_start
    moved: dict[str, TensorPlace] = {}
    before = "the header"
    for place in sorted(places, key=lambda place: (place.offset, place.name)):
        offset = data_start + place.offset
        _check_start(cursor, place, offset, free, (alignment, before))
        end = offset + place.n_bytes
        if end > size_bytes:
            raise cursor.error(
                Truncated,
                f"the file ends inside the tensor {label(place.name)}",
                f"offset of {label(place.name)}",
                offset=offset,
                value=place.n_bytes,
                expected=f"{place.n_bytes} bytes of {place.type.name} {place.shape}",
                found=f"{max(0, size_bytes - offset)} to the end of the file",
                hint="the download may be incomplete; fetch it again",
            )
        free = _align(end, alignment)
        before = label(place.name)
        moved[place.name] = TensorPlace(place.name, place.type, place.shape, offset, place.n_bytes)
    if size_bytes > free:
        raise cursor.error(
            BadOffset,
            "the file goes on after its last tensor",
            "end of file",
            offset=free,
            value=size_bytes,
            expected=f"a file of at most {free} bytes",
            found=f"{size_bytes} bytes",
            hint="something was appended; fetch the file from its source",
        )
    return tuple(moved[place.name] for place in places)


def _check_names(cursor: GgufCursor, places: list[TensorPlace]) -> None:
    seen: set[str] = set()
    for place in places:
        if place.name in seen:
            shown = label(place.name)
            raise cursor.error(
                DuplicateName,
                f"two tensors are named {shown}",
                f"name of {shown}",
                value=place.name,
                expected="each name once",
                found="a second one",
                hint=_DAMAGED,
            )
        seen.add(place.name)


def _check_start(
    cursor: GgufCursor, place: TensorPlace, offset: int, free: int, around: tuple[int, str]
) -> None:
    alignment, before = around
    shown = label(place.name)
    if place.offset % alignment:
        message, expected = f"{shown} is not aligned", f"a multiple of {alignment}"
    elif offset < free:
        message, expected = f"{shown} overlaps {before}", str(free - offset + place.offset)
    elif offset > free:
        message = f"{offset - free} bytes before {shown} belong to no tensor"
        expected = str(free - offset + place.offset)
    else:
        return
    raise cursor.error(
        BadOffset,
        message,
        f"offset of {shown}",
        offset=offset,
        value=place.offset,
        expected=expected,
        found=str(place.offset),
        hint=_DAMAGED,
    )


def _empty_name(cursor: GgufCursor, field: str, at: int) -> FormatError:
    return cursor.error(
        BadValue,
        "a name is empty",
        field,
        offset=at,
        value="",
        expected="at least one byte",
        found="0 bytes",
        hint=_DAMAGED,
    )


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
