"""Writes a safetensors file: published whole or not at all.

Room: formats. Must not know what tensors are for.
Source: the safetensors README: length of the header as u64, JSON, then the tensors end to end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["write_safetensors"]

_NAMES = {
    "float32": "F32",
    "float16": "F16",
    "float64": "F64",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "BF16",  # NumPy has no bfloat16: its upper halves of float32 travel as this
}
_ALIGNMENT = 64


def write_safetensors(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the arrays, uint16 ones as BF16, under a temporary name, syncs, and renames.

    Mutates: the file. Raises: OSError.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {
            "dtype": _NAMES[values.dtype.name],
            "shape": list(values.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    said = json.dumps(header, separators=(",", ":")).encode()
    said += b" " * (-(8 + len(said)) % _ALIGNMENT)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(len(said).to_bytes(8, "little"))
            file.write(said)
            for values in tensors.values():
                file.write(np.ascontiguousarray(values).tobytes())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
