"""Opens what is to be made smaller.

Room: quantize. Must not know recipes or types' insides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from freehold import ops
from freehold.errors import BadRecipe
from freehold.formats.block_types import BlockType
from freehold.formats.gguf import GgufFile, GgufTensor, open_gguf
from freehold.loading.gguf import Loaded, load_planned, plan_gguf
from freehold.loading.merging import MergedRows
from freehold.loading.plan import Plan
from freehold.loading.sources import Rows
from freehold.quantize.checkpoint import open_checkpoint
from freehold.quantize.source import Floats, Source, SourceTensor

__all__ = ["open_source"]


def open_source(path: Path, *, change: Callable[[Plan, str], Plan] | None = None) -> Source:
    """Opens a GGUF file, or a directory of safetensors.

    `change` may plan the model otherwise, given its plan and its architecture's name there: what it
    puts in place of the file's tensors is read instead of them.
    Raises: FormatError, LoadError; BadRecipe for a file that holds no language model.
    """
    if path.is_dir():
        return open_checkpoint(path, change)
    file = open_gguf(path)
    try:
        if file.metadata.get("general.type", "model") != "model":
            raise BadRecipe(
                "the file holds no model",
                value=str(path),
                expected="general.type model",
                found=repr(file.metadata.get("general.type"))[:80],
            )
        tensors = {name: _tensor(tensor) for name, tensor in file.tensors.items()}
        load: Callable[[], Loaded] = partial(_load, file)
        if change is not None:
            plan = change(plan_gguf(file), file.architecture)
            tensors |= _merged(plan)
            load = partial(load_planned, file, plan, in_place=True)
        return Source(
            path=path,
            architecture=file.architecture,
            metadata=file.metadata,
            raw_metadata=_raw(file),
            tensors=tensors,
            size_bytes=file.size_bytes,
            weight_bytes=_weight_bytes(tensors),
            load=load,
            on_close=file.close,
        )
    except BaseException:
        file.close()
        raise


def _load(file: GgufFile) -> Loaded:
    return load_planned(file, plan_gguf(file), in_place=True)


def _weight_bytes(tensors: Mapping[str, SourceTensor]) -> int:
    return sum(
        each.row_count * each.shape[-1] // each.type.block_elements * each.type.block_bytes
        for each in tensors.values()
    )


def _merged(plan: Plan) -> dict[str, SourceTensor]:
    """The tensors that an adapter is folded into, as floats."""
    pieces = {piece.name: piece for some in plan.found.values() for piece in some}
    return {name: _floats(piece) for name, piece in pieces.items() if isinstance(piece, MergedRows)}


def _floats(piece: Rows) -> SourceTensor:
    columns = piece.shape[-1]

    def rows(start: int, count: int) -> Floats:
        return piece.raw(start, count).view(np.float32).reshape(count, columns)

    count = int(np.prod(piece.shape[:-1], dtype=np.int64))
    return SourceTensor(
        piece.name,
        piece.shape,
        BlockType.F32,
        rows,
        lambda: piece.raw(0, count).reshape(-1),
        piece.release,
    )


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
        floats = ops.dequantize(int(tensor.type), data, count * columns)
        return floats.reshape(count, columns)

    def release(start: int, count: int) -> None:
        tensor.release(start * row_bytes, (start + count) * row_bytes)

    return SourceTensor(tensor.name, tensor.shape, tensor.type, rows, tensor.data, release)
