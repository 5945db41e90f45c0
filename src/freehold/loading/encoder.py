"""A directory of config.json, model.safetensors and tokenizer.json -> an encoder.

Room: loading. Everything is checked against the configuration before any weight is read.
Peak memory: the packed weights, plus one chunk of the file: pages are given back as they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import BadConfig, BadSetting, BadValue, UnknownFamily, UnsupportedType
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import Dtype, SafetensorsTensor, open_safetensors
from freehold.loading.matching import check_memory, match_tensors
from freehold.loading.sentence import SentencePlan, read_sentence_plan
from freehold.loading.sources import Source
from freehold.models.base import Encoder, Parameter, Slot
from freehold.models.registry import ENCODERS
from freehold.ops import Tensor, Weight
from freehold.tokenizer import EncoderTokenizer

__all__ = [
    "PRECISIONS",
    "EncoderPlan",
    "LoadedEncoder",
    "load_encoder",
    "load_encoder_tokenizer",
    "read_encoder",
]

# How matrices are kept: whole numbers of 13 bits with a scale for 128 columns, or as floats.
PRECISIONS = {"int16": ops.FIXED16, "float32": 0}

_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True)
class EncoderPlan:
    """What a directory's small files say: shapes, family, and how tokens are pooled."""

    path: Path
    family: str
    config: Any
    width: int
    vocabulary: int
    sentence: SentencePlan

    @property
    def context_tokens(self) -> int:
        """How many tokens a text may have, its begin and end marks among them."""
        return self.sentence.max_tokens


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder in memory; `precision` says whether its matrices were rounded on the way."""

    encoder: Encoder
    plan: EncoderPlan
    precision: str
    file_bytes: int
    parameters: int


def read_encoder(path: Path) -> EncoderPlan:
    """Reads and checks everything but weights and tokenizer.

    Raises: UnknownFamily, BadConfig, UnknownConfigKey, FormatError.
    """
    file = path / "config.json"
    if not file.is_file():
        raise BadConfig(
            "the directory holds no model", expected="config.json", found="no such file"
        )
    metadata = read_json_object(file)
    model_type = metadata.get("model_type")
    table = _table(model_type)
    config = table.read_config(metadata, model_type)
    context = config.positions - config.first_position
    sentence = read_sentence_plan(path, width=config.width, context_tokens=context)
    return EncoderPlan(path, str(model_type), config, config.width, config.vocabulary, sentence)


def load_encoder_tokenizer(plan: EncoderPlan) -> EncoderTokenizer:
    """The tokenizer of the directory. Raises: BadTokenizer."""
    return EncoderTokenizer.from_file(
        plan.path / "tokenizer.json",
        vocabulary=plan.vocabulary,
        lower_case=plan.sentence.lower_case,
    )


def load_encoder(path: Path, *, precision: str = "int16") -> LoadedEncoder:
    """Reads, checks and packs the encoder of a directory.

    Raises: BadSetting for an unknown precision; what `read_encoder` raises; MissingTensor,
    UnexpectedTensor, ShapeMismatch, UnsupportedType, BadValue, OutOfPages.
    """
    if precision not in PRECISIONS:
        raise BadSetting(
            "unknown precision",
            value=precision,
            expected=" or ".join(PRECISIONS),
            found=repr(precision),
        )
    plan = read_encoder(path)
    table = _table(plan.family)
    slots: Mapping[str, Slot] = table.Model.slots(plan.config)
    _check_columns(slots, plan.family, precision)
    with open_safetensors(_weights(path)) as file:
        prefix = table.prefix_of(file.tensors)
        places = {name: Source((prefix + table.file_name(name),)) for name in slots}
        wanted = {
            name: tensor
            for name, tensor in file.tensors.items()
            if not table.unused_tensor(name.removeprefix(prefix))
        }
        matched = match_tensors(wanted, slots, places, plan.family)
        sources = {name: tensor for name, (tensor,) in matched.items()}
        check_memory(
            4 * tensor.n_bytes // _WIDTHS.get(tensor.dtype, 4) for tensor in sources.values()
        )
        kind = PRECISIONS[precision]
        parameters = {name: _read(tensor, slots[name], kind) for name, tensor in sources.items()}
        count = sum(int(np.prod(tensor.shape)) for tensor in sources.values())
        encoder: Encoder = table.Model(plan.config, parameters)
        return LoadedEncoder(encoder, plan, precision, file.size_bytes, count)


def _table(model_type: object) -> ModuleType:
    family = ENCODERS.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise UnknownFamily(
            "no encoder family for this model_type",
            family=str(model_type)[:80],
            value=model_type,
            expected=" or ".join(sorted(ENCODERS)),
            found=repr(model_type)[:80],
        )
    return import_module(f"freehold.loading.names.{family}")


def _weights(folder: Path) -> Path:
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (folder / name).is_file():
            return folder / name
    raise BadConfig(
        "the directory holds no weights that are read here",
        expected="model.safetensors",
        found="no such file",
        hint="checkpoints that must be unpickled are never read",
    )


def _check_columns(slots: Mapping[str, Slot], family: str, precision: str) -> None:
    """Whole numbers need whole blocks of columns. Raises: BadConfig."""
    for name, slot in slots.items():
        if precision != "float32" and slot.matrix and slot.shape[1] % 32:
            raise BadConfig(
                f"{name} cannot be kept as {precision}",
                family=family,
                expected="columns that are a multiple of 32",
                found=str(slot.shape[1]),
                hint="load it with precision float32",
            )


def _bfloat(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (np.frombuffer(raw, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


_FLOATS: Mapping[Dtype, Callable[[NDArray[np.uint8]], NDArray[Any]]] = {
    Dtype.F32: lambda raw: np.frombuffer(raw, "<f4"),
    Dtype.F16: lambda raw: np.frombuffer(raw, "<f2"),
    Dtype.BF16: _bfloat,
}
_WIDTHS = {Dtype.F32: 4, Dtype.F16: 2, Dtype.BF16: 2}


def _read(tensor: SafetensorsTensor, slot: Slot, kind: int) -> Parameter:
    """The tensor as a matrix to multiply by, or as float32 rows, chunk by chunk."""
    if tensor.dtype not in _FLOATS:
        raise UnsupportedType(
            f"{tensor.name} is no matrix of floats",
            field=tensor.name,
            expected=", ".join(dtype.name for dtype in _FLOATS),
            found=tensor.dtype.name,
        )
    rows, cols = slot.shape if len(slot.shape) == 2 else (1, slot.shape[0])
    target = Weight(kind, rows, cols) if slot.matrix else Tensor(rows, cols)
    data, row_bytes = tensor.data(), tensor.n_bytes // rows
    step = max(ops.GROUP_ROWS, _CHUNK_BYTES // row_bytes // ops.GROUP_ROWS * ops.GROUP_ROWS)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        begin, end = start * row_bytes, (start + count) * row_bytes
        values = np.ascontiguousarray(_FLOATS[tensor.dtype](data[begin:end]), np.float32)
        _check_finite(values, tensor.name)
        if isinstance(target, Weight):
            target.pack(start, count, values.view(np.uint8))
        else:
            target.numpy()[start : start + count] = values.reshape(count, cols)
        tensor.release(begin, end)
    return target


def _check_finite(values: NDArray[np.float32], name: str) -> None:
    if not np.isfinite(values).all():
        raise BadValue(
            f"{name} holds numbers that are not finite",
            field=name,
            expected="finite numbers",
            hint="the file is damaged",
        )
