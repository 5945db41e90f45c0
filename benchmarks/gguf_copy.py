"""The starter model in other block types: dequantised, written as BF16, quantized by llama.cpp.

Room: benchmarks. Uses the gguf package and llama.cpp only; must not use freehold, so that no
form owes its values to the code under test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_DERIVED = {"general.architecture", "general.file_type", "general.quantization_version"}


def write_bf16(source: Path, target: Path) -> None:
    """Write the model of `source` with BF16 matrices; metadata is kept, norms stay F32.

    Peak memory: the largest tensor as float32, a few times over.
    """
    import gguf

    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    copy_metadata(reader, writer)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        wide = len(shape) > 1
        dtype = gguf.GGMLQuantizationType.BF16 if wide else gguf.GGMLQuantizationType.F32
        item = 2 if wide else 4
        # A 16-bit dtype would be recorded as F16; the raw type says what it is.
        writer.add_tensor_info(
            tensor.name, shape, np.dtype(np.float32), tensor.n_elements * item, raw_dtype=dtype
        )
    start_tensors(writer)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if len(tensor.shape) > 1:
            writer.write_tensor_data(gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16))
        else:
            writer.write_tensor_data(values)
    writer.close()


def copy_metadata(reader: Any, writer: Any) -> None:
    """Copy every key of the file except those that describe its own encoding."""
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in _DERIVED:
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), kind, sub_type=sub_type)


def start_tensors(writer: Any) -> None:
    """Write header, metadata and tensor table; tensor data follows one by one."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def quantize(source: Path, target: Path, file_type: int, *, threads: int) -> None:
    """Quantize with llama.cpp's own quantizer, 1 GiB of rows in memory at a time."""
    import llama_cpp

    from benchmarks.llama_cpp_driver import quiet

    quiet()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    params.nthread = threads
    params.max_buf_size = 1 << 30
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params)
    if status:
        raise RuntimeError(f"llama.cpp's quantizer ended with status {status} on {source.name}")
