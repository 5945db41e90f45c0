"""llama.cpp's importance matrix, and its quantizer led by it.

Room: benchmarks. Uses gguf, torch, transformers and llama.cpp; must not use freehold.

The sdist of llama-cpp-python builds no llama-imatrix, so what that tool writes (per matrix the mean
square of each input over a text cut into pieces) is computed by hooks on the float32 oracle.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch

from benchmarks.llama_cpp_driver import quiet
from benchmarks.oracle import hf_name, load_oracle

Array = np.ndarray[Any, Any]


def importance_of(path: Path, ids: Array) -> dict[str, Array]:
    """Per matrix, by GGUF name, the mean square of its inputs over ids (N, T).

    Shapes: (C,) each.
    """
    import gguf

    model = load_oracle(path)
    names = {
        hf_name(tensor.name): tensor.name
        for tensor in gguf.GGUFReader(path).tensors
        if len(tensor.shape) > 1 and tensor.name != "token_embd.weight"
    }
    sums: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def hook(_module: Any, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].reshape(-1, inputs[0].shape[-1])
            sums[name] = sums.get(name, 0) + (x * x).sum(dim=0)

        return hook

    for name, module in model.named_modules():
        if name + ".weight" in names:
            module.register_forward_pre_hook(watch(names[name + ".weight"]))
    with torch.inference_mode():
        for chunk in ids:
            # One position's logits: the head alone would take gigabytes.
            model(torch.as_tensor(chunk, dtype=torch.long)[None], use_cache=False, logits_to_keep=1)
    return {name: (total / ids.size).numpy() for name, total in sums.items()}


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
