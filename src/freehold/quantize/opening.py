"""Opens what is to be made smaller.

Room: quantize. Must not know recipes or types' insides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from freehold import ops
from freehold.errors import BadRecipe
from freehold.formats.gguf import GgufFile, GgufTensor, open_gguf
from freehold.loading.gguf import load_gguf
from freehold.quantize.checkpoint import open_checkpoint
from freehold.quantize.source import Floats, Source, SourceTensor

__all__ = ["open_source"]


def open_source(path: Path) -> Source:
    """Opens a GGUF file, or a directory of safetensors.

    Raises: FormatError, LoadError; BadRecipe for a file that holds no language model.
    """
    if path.is_dir():
        return open_checkpoint(path)
    file = open_gguf(path)
    try:
        if file.metadata.get("general.type", "model") != "model":
            raise BadRecipe(
                "the file holds no model",
                value=str(path),
                expected="general.type model",
                found=repr(file.metadata.get("general.type"))[:80],
            )
        return Source(
            path=path,
            architecture=file.architecture,
            metadata=file.metadata,
            raw_metadata=_raw(file),
            tensors={name: _tensor(tensor) for name, tensor in file.tensors.items()},
            size_bytes=file.size_bytes,
            weight_bytes=sum(tensor.n_bytes for tensor in file.tensors.values()),
            load=lambda: load_gguf(path),
            on_close=file.close,
        )
    except BaseException:
        file.close()
        raise


def _raw(file: GgufFile) -> dict[str, bytes]:
    return {
        key: file.raw_value(key)
        for key in file.metadata
        if not key.startswith("split.") and key != "general.alignment"
    }


def _tensor(tensor: GgufTensor) -> SourceTensor:
    columns = tensor.shape[-1]
    row_bytes = columns // tensor.type.block_elements * tensor.type.block_bytes

    def rows(start: int, count: int) -> Floats:
        data = tensor.data()[start * row_bytes : (start + count) * row_bytes]
        floats = ops.dequantize(int(tensor.type), np.ascontiguousarray(data), count * columns)
        return floats.reshape(count, columns)

    def release(start: int, count: int) -> None:
        tensor.release(start * row_bytes, (start + count) * row_bytes)

    return SourceTensor(tensor.name, tensor.shape, tensor.type, rows, tensor.data, release)
