"""An adapter's files -> its matrices, by the canonical names of the model they are for.

Room: loading. Two forms: a directory as PEFT saves it, and a GGUF file. Names, ranks and shapes are
checked against the model before a value is read. Must not know any family.
Peak memory: the packed adapter, twice its matrices in float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import (
    BadConfig,
    BadValue,
    FormatError,
    MissingTensor,
    ShapeMismatch,
    UnexpectedTensor,
    UnknownFamily,
    UnsupportedType,
    WrongTask,
)
from freehold.formats.gguf import GgufTensor, open_gguf
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import Dtype, SafetensorsTensor, open_safetensors
from freehold.loading.adapter_config import Scaling, gguf_scaling, peft_scaling
from freehold.loading.gguf import Loaded
from freehold.loading.matching import check_memory
from freehold.loading.plan import Plan
from freehold.loading.sources import Source, Table
from freehold.models.adapting import BITS, Adapter, LowRank
from freehold.models.base import Slot
from freehold.models.decoder import Decoder
from freehold.models.registry import DECODERS, FAMILIES

__all__ = ["gguf_names", "load_adapter", "peft_names", "read_adapter"]

T = TypeVar("T")

_PEFT_CONFIG = "adapter_config.json"
_PEFT_WEIGHTS = "adapter_model.safetensors"
_FLOATS = {Dtype.F32: 0, Dtype.F16: 1, Dtype.BF16: 30}
# Whatever of a layer the engine can add to.
_PARTS = frozenset({"attn.q", "attn.k", "attn.v", "attn.out", "mlp.gate", "mlp.up", "mlp.down"})
_WRAPPED = ("model.language_model.", "language_model.model.")  # a decoder inside a larger model
_KINDS = {  # what else such files hold, and why it is refused
    "lora_embedding_": "an adapter of the embedding",
    "lora_magnitude_vector": "a magnitude of DoRA",
    "modules_to_save": "a whole matrix that was trained",
}


@dataclass(frozen=True)
class _Half:
    """One of an adapter's two matrices of a target, still in its file."""

    name: str
    shape: tuple[int, ...]
    block_type: int
    tensor: GgufTensor | SafetensorsTensor

    def values(self) -> NDArray[np.float32]:
        """(rows, cols). Raises: BadValue for one that is not finite."""
        rows, cols = self.shape
        flat = ops.dequantize(self.block_type, self.tensor.data(), rows * cols)
        if not np.isfinite(flat).all():
            raise BadValue(
                f"{self.name} holds numbers that are not finite",
                field=self.name,
                expected="finite numbers",
                hint="the file is damaged",
            )
        return np.asarray(flat.reshape(rows, cols))


@dataclass(frozen=True)
class _Target:
    """A matrix of the model and what the adapter's files have for it."""

    canonical: str
    lower: _Half
    upper: _Half
    order: NDArray[np.int64] | None
    scale: float


def load_adapter(path: Path, base: Loaded, *, bits: int = 8) -> Adapter:
    """Reads, checks and packs an adapter for a model in memory; attach it to use it.

    `bits` 8 rounds each matrix to int8 with a scale for 32 values, 16 to float16.
    Raises: FormatError; BadConfig, UnknownConfigKey, UnexpectedTensor, MissingTensor,
    ShapeMismatch for what does not suit the model; WrongTask for a model that takes none.
    """
    assert bits in BITS, "checked where the setting was read"
    model = base.model
    if not isinstance(model, Decoder) or not model.adapter_targets():
        raise WrongTask(
            "this model takes no adapters",
            value=base.architecture,
            expected="a decoder with matrices that adapters are carried for",
            found=base.architecture,
        )
    targets = tuple(model.adapter_targets())
    told = _Base(base.architecture, model.config, model.slots(model.config), targets)

    def packed(found: list[_Target]) -> Adapter:
        check_memory(
            bits * int(np.prod(half.shape)) // 8 for t in found for half in (t.lower, t.upper)
        )
        return model.adapt({target.canonical: _read(target) for target in found}, bits)

    return _with_targets(path, told, packed)


def read_adapter(path: Path, plan: Plan, architecture: str) -> dict[str, LowRank]:
    """What an adapter adds to each matrix of a planned model, by canonical name, rows in our order.

    No weight of the model is read. Raises: as `load_adapter`.
    """
    targets = tuple(name for name in plan.slots if name.split(".", 2)[-1] in _PARTS)
    told = _Base(architecture, plan.config, plan.slots, targets)
    return _with_targets(
        path, told, lambda found: {target.canonical: _read(target) for target in found}
    )


def _with_targets(path: Path, base: _Base, read: Callable[[list[_Target]], T]) -> T:
    """What `read` makes of an adapter's matrices while its files are open."""
    try:
        if path.is_dir():
            scaling = peft_scaling(read_json_object(path / _PEFT_CONFIG))
            with open_safetensors(_peft_weights(path)) as weights:
                halves = {half.name: half for half in map(_peft_half, weights.tensors.values())}
                return read(_targets(halves, _Names(base, "HUB", peft_names), scaling))
        with open_gguf(path) as file:
            scaling = gguf_scaling(file.metadata)
            _check_architecture(file.architecture, base)
            halves = {name: _gguf_half(tensor) for name, tensor in file.tensors.items()}
            return read(_targets(halves, _Names(base, "GGUF", gguf_names), scaling))
    except OSError as error:
        raise FormatError(
            "the adapter cannot be read",
            path=path,
            expected="a directory with adapter_config.json, or a GGUF file",
            found=error.strerror or type(error).__name__,
        ) from error


@dataclass(frozen=True)
class _Base:
    """The model that an adapter is for, as far as names and shapes go."""

    architecture: str
    config: Any
    slots: Mapping[str, Slot]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class _Names:
    """Where a model's matrices are in one form of adapter."""

    base: _Base
    form: str  # the family's table
    halves: Callable[[str], tuple[str, str]]  # a tensor of the model -> A and B

    def sources(self) -> dict[str, Source]:
        """The source of each matrix that adapters may add to and that is one tensor of its own."""
        table: Table | None = getattr(_family(self.base.architecture), self.form)
        if table is None or not self.base.targets:
            return {}
        every = table.sources(self.base.slots, self.base.config)
        users = Counter(name for source in every.values() for name in source.names)
        found = {name: every[name] for name in self.base.targets if name in every}
        return {
            name: source
            for name, source in found.items()
            if len(source.names) == 1 and users[source.names[0]] == 1
        }


def _targets(halves: Mapping[str, _Half], names: _Names, scaling: Scaling) -> list[_Target]:
    slots = names.base.slots
    targets: list[_Target] = []
    known: set[str] = set()
    for canonical, source in names.sources().items():
        lower, upper = names.halves(source.names[0])
        if lower not in halves and upper not in halves:
            continue
        known |= {lower, upper}
        pair = _both(halves, lower, upper)
        _check_shapes(pair, slots[canonical], source)
        scale = scaling.of(source.names[0].removesuffix(".weight"), pair[0].shape[0])
        targets.append(_Target(canonical, *pair, source.order, scale))
    _check_all_known(halves, known, names)
    return targets


def _read(target: _Target) -> LowRank:
    upper = target.upper.values()  # (N, r)
    if target.order is not None:
        upper = np.ascontiguousarray(upper[target.order])
    return LowRank(target.lower.values(), upper, target.scale)


def _both(halves: Mapping[str, _Half], lower: str, upper: str) -> tuple[_Half, _Half]:
    for name, other in ((lower, upper), (upper, lower)):
        if name not in halves:
            raise MissingTensor(
                f"the adapter has {other} but not {name}",
                family="lora",
                tensor=name,
                expected="both matrices of a target, A and B",
                found="one of them",
            )
    return halves[lower], halves[upper]


def _check_shapes(pair: tuple[_Half, _Half], slot: Slot, source: Source) -> None:
    rows, cols = source.piece_shape(slot) if source.order is None else _stack_shape(slot, source)
    rank = pair[0].shape[0] if len(pair[0].shape) == 2 else 0
    for half, expected in zip(pair, ((rank, cols), (rows, rank)), strict=True):
        if rank == 0 or tuple(half.shape) != expected:
            raise ShapeMismatch(
                f"{half.name} does not fit this model: the adapter is for another one",
                family="lora",
                tensor=half.name,
                expected=f"{expected} for the matrix {(rows, cols)} and rank {rank or 'r'}",
                found=str(tuple(half.shape)),
                hint="load it with the model that it was trained on",
            )


def _stack_shape(slot: Slot, source: Source) -> tuple[int, int]:
    """The shape of the file's matrix, of which the slot may be a part."""
    if source.shape is not None:
        return source.shape[0], source.shape[1]
    return slot.shape[0], slot.shape[1]


def _check_all_known(halves: Mapping[str, _Half], known: set[str], names: _Names) -> None:
    for name in halves:
        if name in known:
            continue
        kind = next((why for part, why in _KINDS.items() if part in name), "a matrix")
        kinds = sorted({target.split(".", 2)[2] for target in names.base.targets})
        raise UnexpectedTensor(
            f"the adapter changes {name[:120]}, {kind}: adapters of that are not carried",
            family="lora",
            tensor=name[:200],
            expected="A and B of " + ", ".join(kinds) + " of a layer that the model has",
            found=name[:200],
            hint="train the adapter on these matrices only, or merge it into the model",
        )
    if not known:
        raise MissingTensor(
            "the adapter changes nothing", family="lora", tensor="", expected="some A and B"
        )


def _peft_weights(path: Path) -> Path:
    if (path / _PEFT_WEIGHTS).is_file():
        return path / _PEFT_WEIGHTS
    pickles = sorted(file.name for file in path.glob("*.bin")) or ["no such file"]
    raise BadConfig(
        "the directory holds no adapter that is read here",
        expected=_PEFT_WEIGHTS,
        found=pickles[0],
        hint="adapters that must be unpickled are never read; save them as safetensors",
    )


def _gguf_half(tensor: GgufTensor) -> _Half:
    if not ops.supports_type(int(tensor.type)):
        raise UnsupportedType(
            f"{tensor.name[:120]} has a type that is not read",
            field=tensor.name[:200],
            expected="a block type of the core",
            found=tensor.type.name,
        )
    return _Half(tensor.name, tensor.shape, int(tensor.type), tensor)


def _peft_half(tensor: SafetensorsTensor) -> _Half:
    if tensor.dtype not in _FLOATS:
        raise UnsupportedType(
            f"{tensor.name[:120]} is no matrix of floats",
            field=tensor.name[:200],
            expected=", ".join(dtype.name for dtype in _FLOATS),
            found=tensor.dtype.name,
        )
    return _Half(_alone(tensor.name), tensor.shape, _FLOATS[tensor.dtype], tensor)


def _alone(name: str) -> str:
    """The name as in a decoder that is not part of a larger model."""
    inner = name.removeprefix("base_model.model.")
    for prefix in _WRAPPED:
        if inner.startswith(prefix):
            return "base_model.model.model." + inner.removeprefix(prefix)
    return name


def peft_names(tensor: str) -> tuple[str, str]:
    """What PEFT calls A and B of a tensor of a directory."""
    module = "base_model.model." + tensor.removesuffix(".weight")
    return f"{module}.lora_A.weight", f"{module}.lora_B.weight"


def gguf_names(tensor: str) -> tuple[str, str]:
    """What llama.cpp calls A and B of a tensor of a file."""
    return f"{tensor}.lora_a", f"{tensor}.lora_b"


def _check_architecture(architecture: str, base: _Base) -> None:
    """A directory's model_type and a file's architecture may name one family differently."""
    names = {architecture, FAMILIES.get(architecture)}
    if base.architecture in names or DECODERS.get(base.architecture) in names - {None}:
        return
    raise UnknownFamily(
        "the adapter is for another architecture",
        family=architecture[:80],
        value=architecture[:80],
        expected=base.architecture,
        found=architecture[:80],
    )


def _family(architecture: str) -> object:
    family = FAMILIES.get(architecture) or DECODERS[architecture]
    return import_module(f"freehold.loading.names.{family}")
