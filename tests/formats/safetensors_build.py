"""Writes safetensors files from a header of any kind, so that a test can lie in it."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def entry(dtype: object, shape: object, begin: object, end: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def content(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with this header, as an object or as raw bytes, and this announced length."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def sound() -> bytes:
    table = {
        "__metadata__": {"format": "pt"},
        "a": entry("F32", [2, 3], 0, 24),
        "b": entry("BF16", [4], 24, 32),
        "c": entry("I64", [], 32, 40),
        "d": entry("U8", [0, 7], 40, 40),
        "e": entry("BOOL", [3], 40, 43),
    }
    return content(table, bytes(range(43)))


def write(folder: Path, raw: bytes, name: str = "model.safetensors") -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def write_sharded(folder: Path, weight_map: object = None, **more: object) -> Path:
    """Two files with one tensor each and their index, which may be told to lie."""
    for number, name in enumerate("ab", start=1):
        raw = content({name: entry("U8", [4], 0, 4)}, bytes([number]) * 4)
        write(folder, raw, f"model-{number:05}-of-00002.safetensors")
    honest = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = {"metadata": {"total_size": 8}, "weight_map": weight_map or honest, **more}
    return write(folder, json.dumps(index).encode(), "model.safetensors.index.json")
