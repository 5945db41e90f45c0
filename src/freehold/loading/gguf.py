"""A GGUF file -> a model over packed weights.

Room: loading. Everything is checked against the configuration before any weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from freehold.errors import UnknownFamily
from freehold.formats.gguf import GgufFile, GgufTensor, open_gguf
from freehold.loading.matching import check_memory, match_tensors
from freehold.loading.plan import Origin, Plan
from freehold.loading.quantized import LoadReport
from freehold.loading.sources import Table
from freehold.models.base import Model, Parameter, Shape, Slot
from freehold.models.registry import FAMILIES

__all__ = ["Loaded", "Origin", "load_gguf", "load_planned", "plan_gguf"]


@dataclass(frozen=True)
class Loaded:
    """A model in memory and what its file, or its directory's config.json, says besides weights.

    `report` says of quantized safetensors whether the values are the checkpoint's own.
    `parameters` are the model's own by canonical name, and `origins` where each lies in the file.
    """

    model: Model
    metadata: Mapping[str, object]
    path: Path
    architecture: str
    file_bytes: int
    report: LoadReport | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict, repr=False)
    origins: Mapping[str, Origin] = field(default_factory=dict, repr=False)


def load_gguf(path: Path) -> Loaded:
    """Reads, checks and packs the model of a file.

    Raises: FormatError for bad bytes; UnknownFamily, BadConfig, UnknownConfigKey, MissingTensor,
    UnexpectedTensor, ShapeMismatch for a sound file that is no model of ours; OutOfPages when the
    weights do not fit the machine's memory.
    """
    with open_gguf(path) as file:
        return load_planned(file, plan_gguf(file))


def load_planned(file: GgufFile, plan: Plan, *, in_place: bool = False) -> Loaded:
    """The model of an open file, as it was planned; see `Plan.build`. Raises: as `load_gguf`."""
    check_memory(plan.sizes_bytes(in_place=in_place))
    model, parameters = plan.build(in_place=in_place)
    return Loaded(
        model,
        file.metadata,
        file.path,
        file.architecture,
        file.size_bytes,
        parameters=parameters,
        origins=plan.origins(),
    )


def plan_gguf(file: GgufFile) -> Plan:
    """What an open file's model is made of; no weight is read. Raises: as `load_gguf`."""
    family = _family(file)
    table: Table = family.GGUF
    config = table.read_config(file.metadata)
    slots: Mapping[str, Slot] = family.Model.slots(config)
    sources = table.sources(slots, config, file.tensors)
    found = match_tensors(
        file.tensors,
        slots,
        sources,
        file.architecture,
        lambda name: table.may_leave(name, config),
    )
    rows = {name: tuple(_GgufRows(tensor) for tensor in tensors) for name, tensors in found.items()}
    return Plan(family.Model, config, slots, sources, rows)


class _GgufRows:
    """A tensor of the file as rows; its blocks are the core's own."""

    is_view = True

    def __init__(self, tensor: GgufTensor) -> None:
        self._tensor = tensor
        self.name = tensor.name
        self.shape: Shape = tensor.shape
        self.n_bytes = tensor.n_bytes
        self.block_type = int(tensor.type)
        rows = int(np.prod(tensor.shape[:-1], dtype=np.int64))
        self._row_bytes = tensor.n_bytes // rows

    def raw(self, start: int, count: int) -> NDArray[np.uint8]:
        """Blocks of the rows, a view of the file."""
        begin, end = start * self._row_bytes, (start + count) * self._row_bytes
        return self._tensor.data()[begin:end].reshape(count, self._row_bytes)

    def release(self, start: int, count: int) -> None:
        """Gives the file's pages back."""
        self._tensor.release(start * self._row_bytes, (start + count) * self._row_bytes)


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
