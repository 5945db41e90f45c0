"""Writes GGUF files field by field, so that a test can lie in any one of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_SCALARS = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "B",
    U64: "Q",
    I64: "q",
    F64: "d",
}


def u32(n: int) -> bytes:
    return struct.pack("<I", n)


def u64(n: int) -> bytes:
    return struct.pack("<Q", n)


def text(value: str | bytes, *, length: int | None = None) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return u64(len(raw) if length is None else length) + raw


def scalar(kind: int, value: float | str | bytes) -> bytes:
    if isinstance(value, str | bytes):
        return text(value)
    return struct.pack("<" + _SCALARS[kind], value)


def pair(key: str | bytes, kind: int, value: float | str | bytes) -> bytes:
    return text(key) + u32(kind) + scalar(kind, value)


def array(key: str, kind: int, values: Iterable[float | str | bytes], *, count: int = -1) -> bytes:
    items = [scalar(kind, value) for value in values]
    n = len(items) if count < 0 else count
    return text(key) + u32(ARRAY) + u32(kind) + u64(n) + b"".join(items)


def tensor(name: str | bytes, dims: Iterable[int], kind: int, offset: int) -> bytes:
    sizes = list(dims)
    return text(name) + u32(len(sizes)) + b"".join(map(u64, sizes)) + u32(kind) + u64(offset)


ARCHITECTURE = pair("general.architecture", STRING, "llama")


@dataclass
class Gguf:
    """A file to be; whatever is left alone is sound. Counts follow the lists unless given."""

    magic: bytes = b"GGUF"
    version: int = 3
    pairs: list[bytes] = field(default_factory=lambda: [ARCHITECTURE])
    tensors: list[bytes] = field(default_factory=list)
    data: bytes = b""
    num_tensors: int | None = None
    num_pairs: int | None = None
    alignment: int = 32

    def header(self) -> bytes:
        num_tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        num_pairs = len(self.pairs) if self.num_pairs is None else self.num_pairs
        counts = u64(num_tensors) + u64(num_pairs)
        return self.magic + u32(self.version) + counts + b"".join(self.pairs + self.tensors)

    def content(self) -> bytes:
        header = self.header()
        return header + bytes(-len(header) % self.alignment) + self.data

    def write(self, folder: Path, name: str = "model.gguf") -> Path:
        path = folder / name
        path.write_bytes(self.content())
        return path


def sound() -> Gguf:
    """Two tensors, values of every kind, and padding between everything."""
    return Gguf(
        pairs=[
            ARCHITECTURE,
            pair("a.u8", U8, 200),
            pair("a.i8", I8, -3),
            pair("a.u16", U16, 60000),
            pair("a.i16", I16, -300),
            pair("a.u32", U32, 4_000_000_000),
            pair("a.i32", I32, -70000),
            pair("a.f32", F32, 0.5),
            pair("a.bool", BOOL, 1),
            pair("a.text", STRING, "größer"),
            pair("a.u64", U64, 1 << 63),
            pair("a.i64", I64, -(1 << 62)),
            pair("a.f64", F64, 1e-300),
            array("b.u8", U8, [1, 2, 3]),
            array("b.i32", I32, [-1, 0, 1]),
            array("b.f32", F32, [0.5, -0.5]),
            array("b.bool", BOOL, [0, 1, 1]),
            array("b.text", STRING, ["", "a", "日本", "<|im_end|>"]),
            array("b.u64", U64, [1 << 63]),
            array("b.empty", U32, []),
            array("b.no_text", STRING, []),
            array("b.no_bool", BOOL, []),
        ],
        tensors=[tensor("token_embd.weight", [32, 3], 2, 0), tensor("norm.weight", [5], 0, 64)],
        data=bytes(range(54)) + bytes(10) + bytes(range(20)),
    )
