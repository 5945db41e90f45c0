"""Hostile GGUF files, built field by field, each with the error that it must get.

A name says what is wrong; the file is sound in all else.
"""

from __future__ import annotations

import struct

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
from tests.formats.gguf_build import (
    ARCHITECTURE,
    ARRAY,
    BOOL,
    F32,
    I32,
    STRING,
    U8,
    U32,
    U64,
    Gguf,
    array,
    pair,
    sound,
    tensor,
    text,
    u32,
    u64,
)

# Content, error, field, and the byte it must name, or None where a reader may choose.
Attack = tuple[bytes, type[FormatError], str, int | None]
HUGE = (1 << 64) - 1
Q4_0, Q4_K = 2, 12


def with_pair(*pairs: bytes) -> bytes:
    return Gguf(pairs=[ARCHITECTURE, *pairs]).content()


def with_tensors(*tensors: bytes, data: bytes = b"") -> bytes:
    return Gguf(tensors=list(tensors), data=data).content()


def shaped(*dims: int, kind: int = 0) -> bytes:
    return with_tensors(tensor("w", dims, kind, 0), data=bytes(64))


def two(first: int, second: int, *, data: int = 96) -> bytes:
    """Two tensors of 32 bytes at these offsets."""
    return with_tensors(tensor("a", [8], 0, first), tensor("b", [8], 0, second), data=bytes(data))


def aligned_to(value: bytes) -> bytes:
    return with_pair(text("general.alignment") + value)


# Where the first pair and, after it, the second one begin.
PAIRS_AT = 24
SECOND_AT = PAIRS_AT + len(ARCHITECTURE)

START: dict[str, Attack] = {
    "other magic": (b"GGUX" + sound().content()[4:], BadMagic, "magic", 0),
    "zip archive": (b"PK\x03\x04" + bytes(60), BadMagic, "magic", 0),
    "three bytes": (b"GGU", Truncated, "magic", 0),
    "magic alone": (b"GGUF", Truncated, "version", 4),
    "version 0": (Gguf(version=0).content(), UnsupportedVersion, "version", 4),
    "version 1": (Gguf(version=1).content(), UnsupportedVersion, "version", 4),
    "version 4": (Gguf(version=4).content(), UnsupportedVersion, "version", 4),
    "big-endian": (b"GGUF" + struct.pack(">I", 3) + bytes(60), UnsupportedVersion, "version", 4),
    "no counts": (b"GGUF" + u32(3) + u64(0), Truncated, "metadata count", 16),
    "2^64-1 tensors": (Gguf(num_tensors=HUGE).content(), LimitExceeded, "tensor count", 8),
    "2^64-1 keys": (Gguf(num_pairs=HUGE).content(), LimitExceeded, "metadata count", 16),
    "2^61 tensors": (Gguf(num_tensors=1 << 61).content(), LimitExceeded, "tensor count", 8),
    "131,072 tensors": (Gguf(num_tensors=1 << 17).content(), Truncated, "tensor count", 16),
    "65,536 keys": (Gguf(num_pairs=1 << 16).content(), Truncated, "metadata count", 24),
    "a key too many": (
        Gguf(pairs=[ARCHITECTURE], num_pairs=2).header() + bytes(14),
        BadValue,
        "key 1 of 2",
        SECOND_AT,
    ),
}

METADATA: dict[str, Attack] = {
    "no architecture": (Gguf(pairs=[]).content(), BadValue, "general.architecture", None),
    "architecture is a number": (
        Gguf(pairs=[pair("general.architecture", U32, 1)]).content(),
        BadValue,
        "general.architecture",
        None,
    ),
    "architecture is empty": (
        Gguf(pairs=[pair("general.architecture", STRING, "")]).content(),
        BadValue,
        "general.architecture",
        None,
    ),
    "key of 2^64-1 bytes": (
        with_pair(u64(HUGE) + b"k" + u32(U8) + b"\0"),
        LimitExceeded,
        "key 1 of 2",
        SECOND_AT,
    ),
    "key of 1,025 bytes": (
        with_pair(pair("k" * 1025, U8, 1)),
        LimitExceeded,
        "key 1 of 2",
        SECOND_AT,
    ),
    "key not UTF-8": (with_pair(pair(b"k\xff", U8, 1)), BadValue, "key 1 of 2", SECOND_AT + 9),
    "empty key": (with_pair(pair("", U32, 1)), BadValue, "key 1 of 2", SECOND_AT),
    "key twice": (with_pair(ARCHITECTURE), DuplicateName, "general.architecture", SECOND_AT),
    "value type 13": (
        with_pair(text("k") + u32(13) + bytes(8)),
        UnsupportedType,
        "k",
        SECOND_AT + 9,
    ),
    "value type 2^32-1": (
        with_pair(text("k") + u32((1 << 32) - 1) + bytes(8)),
        UnsupportedType,
        "k",
        SECOND_AT + 9,
    ),
    "value cut off": (
        Gguf(pairs=[ARCHITECTURE, text("k") + u32(U64) + bytes(7)]).header(),
        Truncated,
        "k",
        SECOND_AT + 13,
    ),
    "boolean 2": (with_pair(pair("k", BOOL, 2)), BadValue, "k", SECOND_AT + 13),
    "boolean 255 in an array": (
        with_pair(array("k", BOOL, [0, 1, 255])),
        BadValue,
        "k",
        SECOND_AT + 27,
    ),
    "string of 2^64-1 bytes": (
        with_pair(text("k") + u32(STRING) + text("v", length=HUGE)),
        LimitExceeded,
        "k",
        SECOND_AT + 13,
    ),
    "string past the end": (
        with_pair(text("k") + u32(STRING) + text("v", length=1000)),
        Truncated,
        "k",
        SECOND_AT + 21,
    ),
    "string not UTF-8": (with_pair(pair("k", STRING, b"ok\xed\xa0\x80")), BadValue, "k", None),
}

ARRAYS: dict[str, Attack] = {
    "array of 2^64-1 numbers": (
        with_pair(array("k", I32, [1], count=HUGE)),
        LimitExceeded,
        "k",
        SECOND_AT + 17,
    ),
    "array of 2^62 numbers": (
        with_pair(array("k", U32, [1], count=1 << 62)),
        LimitExceeded,
        "k",
        SECOND_AT + 17,
    ),
    "array past the end": (
        with_pair(array("k", F32, [1.0], count=1000)),
        Truncated,
        "k",
        SECOND_AT + 25,
    ),
    "booleans past the end": (
        with_pair(array("k", BOOL, [1], count=1000)),
        Truncated,
        "k",
        SECOND_AT + 25,
    ),
    "2^61 strings": (
        with_pair(array("k", STRING, ["a"], count=1 << 61)),
        LimitExceeded,
        "k",
        SECOND_AT + 17,
    ),
    "1,000 strings that are not there": (
        with_pair(array("k", STRING, ["a"], count=1000)),
        Truncated,
        "k",
        SECOND_AT + 25,
    ),
    "second string past the end": (
        with_pair(array("k", STRING, ["a"]) + text("b", length=900)).replace(
            u32(STRING) + u64(1), u32(STRING) + u64(2), 1
        ),
        Truncated,
        "k[1]",
        None,
    ),
    "second string of 2^64-1 bytes": (
        with_pair(array("k", STRING, ["a"], count=2) + text("b", length=HUGE)),
        LimitExceeded,
        "k[1]",
        SECOND_AT + 34,
    ),
    "second string not UTF-8": (
        with_pair(array("k", STRING, ["a", b"b\xc0"])),
        BadValue,
        "k[1]",
        SECOND_AT + 43,
    ),
    "array of arrays": (
        with_pair(text("k") + u32(ARRAY) + u32(ARRAY) + u64(1) + u32(U8) + u64(0)),
        UnsupportedType,
        "k",
        SECOND_AT + 13,
    ),
    "array of type 99": (
        with_pair(text("k") + u32(ARRAY) + u32(99) + u64(0)),
        UnsupportedType,
        "k",
        SECOND_AT + 13,
    ),
}

ALIGNMENT: dict[str, Attack] = {
    name: (aligned_to(value), BadValue, "general.alignment", None)
    for name, value in {
        "alignment 0": u32(U32) + u32(0),
        "alignment 4": u32(U32) + u32(4),
        "alignment 48": u32(U32) + u32(48),
        "alignment 2^31": u32(U32) + u32(1 << 31),
        "alignment 2^63": u32(U64) + u64(1 << 63),
        "alignment -32": u32(I32) + struct.pack("<i", -32),
        "alignment is text": u32(STRING) + text("32"),
        "alignment is a boolean": u32(BOOL) + b"\1",
        "alignment is a float": u32(F32) + struct.pack("<f", 32.0),
        "alignment is an array": u32(ARRAY) + u32(U32) + u64(1) + u32(32),
    }.items()
}

TENSORS: dict[str, Attack] = {
    "name of 2^64-1 bytes": (
        with_tensors(u64(HUGE) + b"w" * 24),
        LimitExceeded,
        "name of tensor 0 of 1",
        SECOND_AT,
    ),
    "name of 256 bytes": (
        with_tensors(tensor("w" * 256, [8], 0, 0), data=bytes(32)),
        LimitExceeded,
        "name of tensor 0 of 1",
        SECOND_AT,
    ),
    "empty name": (
        with_tensors(tensor("", [8], 0, 0), data=bytes(32)),
        BadValue,
        "name of tensor 0 of 1",
        SECOND_AT,
    ),
    "name not UTF-8": (
        with_tensors(tensor(b"\xfe", [8], 0, 0), data=bytes(32)),
        BadValue,
        "name of tensor 0 of 1",
        SECOND_AT + 8,
    ),
    "name twice": (
        with_tensors(tensor("a", [8], 0, 0), tensor("a", [8], 0, 32), data=bytes(64)),
        DuplicateName,
        "name of a",
        None,
    ),
    "5 dimensions": (shaped(1, 1, 1, 1, 1), LimitExceeded, "dimensions of w", SECOND_AT + 9),
    "2^32-1 dimensions": (
        with_tensors(text("w") + u32((1 << 32) - 1) + bytes(12)),
        LimitExceeded,
        "dimensions of w",
        SECOND_AT + 9,
    ),
    "a dimension of 0": (shaped(8, 0), BadValue, "dimensions of w", SECOND_AT + 9),
    "2^64-1 elements": (shaped(HUGE), BadValue, "dimensions of w", SECOND_AT + 9),
    "2^64 elements, 0 after overflow": (
        shaped(1 << 32, 1 << 32),
        BadValue,
        "dimensions of w",
        SECOND_AT + 9,
    ),
    "2^64+32 elements, 32 after overflow": (
        shaped(32, (1 << 59) + 1),
        BadValue,
        "dimensions of w",
        SECOND_AT + 9,
    ),
    "2^62 elements, 2^64 bytes": (shaped(1 << 62), Truncated, "offset of w", None),
    "2^256 elements": (
        shaped(HUGE, HUGE, HUGE, HUGE),
        BadValue,
        "dimensions of w",
        SECOND_AT + 9,
    ),
    "row of half a block": (shaped(16, 2, kind=Q4_0), BadValue, "dimensions of w", SECOND_AT + 9),
    "row of 1.5 super-blocks": (
        shaped(384, 2, kind=Q4_K),
        BadValue,
        "dimensions of w",
        SECOND_AT + 9,
    ),
    "IQ2_XXS": (shaped(256, kind=16), UnsupportedType, "type of w", SECOND_AT + 21),
    "block type 2^32-1": (
        shaped(8, kind=(1 << 32) - 1),
        UnsupportedType,
        "type of w",
        SECOND_AT + 21,
    ),
    "offset cut off": (
        Gguf(tensors=[tensor("w", [8], 0, 0)[:-1]]).header(),
        Truncated,
        "offset of w",
        SECOND_AT + 25,
    ),
}

LAYOUT: dict[str, Attack] = {
    "unaligned": (two(0, 40), BadOffset, "offset of b", None),
    "the same bytes twice": (two(0, 0), BadOffset, "offset of b", None),
    "a hole between": (two(0, 64), BadOffset, "offset of b", None),
    "a hole in front": (two(32, 64), BadOffset, "offset of a", None),
    "offset 2^64-32": (two(0, (1 << 64) - 32), BadOffset, "offset of b", None),
    "offset 2^63": (two(0, 1 << 63), BadOffset, "offset of b", None),
    "data cut by a byte": (two(0, 32, data=63), Truncated, "offset of b", None),
    "no data at all": (two(0, 32, data=0), Truncated, "offset of a", None),
    "a byte after the padding": (two(0, 32, data=65), BadOffset, "end of file", None),
    "a second file appended": (
        sound().content() + bytes(12) + sound().content(),
        BadOffset,
        "end of file",
        None,
    ),
    "overlap after a block tensor": (
        with_tensors(tensor("a", [32, 2], Q4_0, 0), tensor("b", [8], 0, 32), data=bytes(96)),
        BadOffset,
        "offset of b",
        None,
    ),
}

ATTACKS: dict[str, Attack] = {
    f"{group}: {name}": attack
    for group, table in {
        "start": START,
        "metadata": METADATA,
        "array": ARRAYS,
        "alignment": ALIGNMENT,
        "tensor": TENSORS,
        "layout": LAYOUT,
    }.items()
    for name, attack in table.items()
}
