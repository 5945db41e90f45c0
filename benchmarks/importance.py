"""llama.cpp's importance matrix, and its quantizer led by it.

Room: benchmarks. Uses llama.cpp; must not use freehold.

The sdist of llama-cpp-python builds no llama-imatrix. What that tool does is done here through the
same callback of the C API: per matrix the mean square of each input, over a text cut into pieces.
It also computes every token's logits, for a perplexity that nobody needs here; this does not.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp._ctypes_extensions import load_shared_library

from benchmarks.llama_cpp_driver import LlamaCpp, quiet

Array = np.ndarray[Any, Any]


class _Node(ctypes.Structure):
    """A ggml_tensor, as far as it is looked at."""

    _fields_ = (
        ("type", ctypes.c_int32),
        ("buffer", ctypes.c_void_p),
        ("counts", ctypes.c_int64 * 4),
        ("strides", ctypes.c_size_t * 4),
        ("op", ctypes.c_int32),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("sources", ctypes.c_void_p * 10),
        ("view_source", ctypes.c_void_p),
        ("view_offset", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    )


class _Sums:
    """Adds up the squares of what each matrix of a layer meets."""

    def __init__(self) -> None:
        folder = Path(llama_cpp.__file__).parent / "lib"
        self._library = load_shared_library("ggml-base", folder)
        self._library.ggml_op_desc.restype = ctypes.c_char_p
        self._library.ggml_op_desc.argtypes = [ctypes.c_void_p]
        self.squares: dict[str, Array] = {}
        self.callback = llama_cpp.llama_cpp.ggml_backend_sched_eval_callback(self._see)

    def _see(self, at: int, ask: bool, _data: Any) -> bool:
        node = _Node.from_address(at)
        if self._library.ggml_op_desc(at) != b"MUL_MAT" or not node.sources[0]:
            return not ask
        name = _Node.from_address(node.sources[0]).name.decode()
        wanted = name.startswith("blk.") and name.endswith(".weight")
        if ask or not wanted:
            return wanted or not ask
        inputs = _Node.from_address(node.sources[1])
        columns, rows = inputs.counts[0], inputs.counts[1]
        floats = (ctypes.c_float * (rows * columns)).from_address(inputs.data)
        x = np.frombuffer(floats, np.float32).reshape(rows, columns)
        squares = np.einsum("tc,tc->c", x, x)
        self.squares[name] = self.squares.get(name, 0) + squares
        return True


def importance_of(path: Path, ids: Array, *, threads: int) -> tuple[dict[str, Array], float]:
    """Per matrix, by GGUF name, the mean square of its inputs over ids (N, T); and the seconds.

    Shapes: (C,) each. The seconds count the loading, as those of a command of its own would.
    """
    sums, start_s = _Sums(), time.perf_counter()
    model = LlamaCpp(path, threads=threads, watch=sums.callback)
    for chunk in ids:
        model.read(chunk)
    model.close()
    found = {name: total / np.float32(ids.size) for name, total in sums.squares.items()}
    return found, time.perf_counter() - start_s


def quantize(
    source: Path, target: Path, file_type: int, importance: Mapping[str, Array], *, threads: int
) -> float:
    """Quantizes with llama.cpp's own quantizer; returns seconds."""
    quiet()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    params.nthread = threads
    kept = [
        (name.encode(), np.ascontiguousarray(values, np.float32))
        for name, values in importance.items()
    ]
    entries = (llama_cpp.llama_model_imatrix_data * (len(kept) + 1))()
    for entry, (name, values) in zip(entries, kept, strict=False):
        entry.name = name
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    if kept:
        params.imatrix = ctypes.cast(entries, type(params.imatrix))
    start_s = time.perf_counter()
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params)
    if status:
        raise RuntimeError(f"llama.cpp's quantizer ended with status {status} on {source.name}")
    return time.perf_counter() - start_s
