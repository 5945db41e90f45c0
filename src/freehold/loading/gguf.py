"""A GGUF file -> a model over packed weights.

Room: loading. Everything is checked against the configuration before any weight is read.
Peak memory: the packed weights, plus one chunk of the file: pages are given back as they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import BadConfig, UnknownFamily
from freehold.formats.gguf import GgufFile, GgufTensor, open_gguf
from freehold.loading.matching import check_memory, match_tensors
from freehold.models.base import Model, Parameter, Slot
from freehold.models.registry import FAMILIES
from freehold.ops import Tensor, Weight

__all__ = ["Loaded", "load_gguf"]

_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True)
class Loaded:
    """A model in memory and what its file says besides weights."""

    model: Model
    metadata: Mapping[str, object]
    path: Path
    architecture: str
    file_bytes: int


def load_gguf(path: Path) -> Loaded:
    """Reads, checks and packs the model of a file.

    Raises: FormatError for bad bytes; UnknownFamily, BadConfig, UnknownConfigKey, MissingTensor,
    UnexpectedTensor, ShapeMismatch for a sound file that is no model of ours; OutOfPages when the
    weights do not fit the machine's memory.
    """
    with open_gguf(path) as file:
        table = _family(file)
        config = table.read_config(file.metadata, _vocabulary(file))
        slots: Mapping[str, Slot] = table.Model.slots(config)
        names = {table.file_name(canonical): canonical for canonical in slots}
        sources = match_tensors(file.tensors, slots, names, file.architecture)
        check_memory(tensor.n_bytes for tensor in sources.values())
        parameters = {
            name: _read(tensor, slots[name], table.row_order(name, config))
            for name, tensor in sources.items()
        }
        model: Model = table.Model(config, parameters)
        return Loaded(model, file.metadata, path, file.architecture, file.size_bytes)


def _family(file: GgufFile) -> ModuleType:
    family = FAMILIES.get(file.architecture)
    if family is None:
        raise UnknownFamily(
            "no family for this architecture",
            family=file.architecture,
            value=file.architecture,
            expected=" or ".join(sorted(FAMILIES)),
            found=repr(file.architecture),
        )
    return import_module(f"freehold.loading.names.{family}")


def _vocabulary(file: GgufFile) -> int:
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, tuple) or not tokens:
        raise BadConfig(
            "the file has no vocabulary",
            expected="tokenizer.ggml.tokens",
            found="nothing" if tokens is None else type(tokens).__name__,
        )
    return len(tokens)


def _read(tensor: GgufTensor, slot: Slot, order: NDArray[np.int32] | None) -> Parameter:
    if slot.matrix:
        return _pack(tensor, slot, order)
    values = ops.dequantize(int(tensor.type), tensor.data(), slot.shape[0])  # (1, n)
    tensor.release()
    row = Tensor(1, slot.shape[0])
    row.fill(values if order is None else np.ascontiguousarray(values[:, order]))
    return row


def _pack(tensor: GgufTensor, slot: Slot, order: NDArray[np.int32] | None) -> Weight:
    """Rearranges the tensor chunk by chunk and gives the file's pages back behind it."""
    rows, cols = slot.shape
    weight = Weight(int(tensor.type), rows, cols)
    data = tensor.data()
    row_bytes = tensor.n_bytes // rows
    # A reordered tensor needs all of its rows at once; these are small.
    whole = order is not None
    step = rows if whole else max(ops.GROUP_ROWS, _CHUNK_BYTES // row_bytes // 16 * 16)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        begin, end = start * row_bytes, (start + count) * row_bytes
        weight.pack(start, count, data[begin:end], order)
        tensor.release(begin, end)
    return weight
