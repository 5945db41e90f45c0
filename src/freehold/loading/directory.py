"""A directory of config.json and safetensors, as transformers saves it -> a decoder.

Room: loading. Everything is checked against the configuration before any weight is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadConfig, MissingTensor, UnknownFamily, UnsupportedType
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import (
    Dtype,
    SafetensorsFile,
    SafetensorsTensor,
    open_safetensors,
)
from freehold.loading.gguf import Loaded
from freehold.loading.judging import is_judge
from freehold.loading.matching import check_memory, match_tensors
from freehold.loading.plan import Plan
from freehold.loading.quantized import Gathered, LoadReport, read_scheme, report_on
from freehold.loading.sources import Rows, Table
from freehold.loading.transposed import TransposedRows
from freehold.models.base import Shape, Slot
from freehold.models.registry import DECODERS, ENCODERS, WRAPPERS

__all__ = [
    "OpenDirectory",
    "is_encoder",
    "load_directory",
    "open_directory",
    "plan_directory",
    "read_directory_config",
    "text_config",
    "weights_file",
]

# What a wrapper's checkpoint calls its decoder, first as saved today, then as before.
_PREFIXES = ("model.language_model.", "language_model.model.", "language_model.")
_OTHER_MEDIA = ("vision", "visual", "audio", "multi_modal_projector", "embed_vision", "embed_audio")

# Block types of the core that floats are, by the number GGUF gives them.
_FLOATS = {Dtype.F32: 0, Dtype.F16: 1, Dtype.BF16: 30}


def is_encoder(path: Path) -> bool:
    """Whether a path is a directory that embeds: an encoder's, or a decoder's with modules.json.

    A decoder whose modules end in a score of tokens judges, and is a decoder as others.
    Raises: FormatError, BadConfig; UnknownFamily for a name that is no family's.
    """
    if not (path.is_dir() and (path / "config.json").is_file()):
        return False
    model_type = read_json_object(path / "config.json").get("model_type")
    known = isinstance(model_type, str)
    if known and (model_type in DECODERS or model_type in WRAPPERS):
        return (path / "modules.json").is_file() and not is_judge(path)
    if not known or model_type not in ENCODERS:
        raise _unknown(model_type)
    return True


def read_directory_config(metadata: Mapping[str, Any]) -> tuple[str, Any]:
    """(family, configuration) of a decoder's config.json. Raises: as `load_directory`."""
    text = text_config(metadata)
    model_type = str(text.get("model_type"))
    table: Table = _family(model_type).HUB
    return model_type, table.read_config(text)


@dataclass(frozen=True)
class OpenDirectory:
    """A directory whose tensors can be read: its plan, and the module of its family.

    `metadata` is config.json; `report` says what became of quantized values once they were read.
    """

    path: Path
    metadata: Mapping[str, Any]
    model_type: str
    family: ModuleType
    plan: Plan
    file_bytes: int
    report: Callable[[], LoadReport] | None

    def load(self, *, in_place: bool = False) -> Loaded:
        """Packs everything; see `Plan.build`. Raises: UnsupportedType, BadValue, OutOfPages."""
        check_memory(self.plan.sizes_bytes(in_place=in_place))
        model, parameters = self.plan.build(in_place=in_place)
        return Loaded(
            model,
            self.metadata,
            self.path,
            self.model_type,
            self.file_bytes,
            self.report and self.report(),
            parameters,
            self.plan.origins(),
        )


@contextmanager
def open_directory(path: Path, *, headless: bool = False) -> Iterator[OpenDirectory]:
    """A directory, planned; within the block its rows can be read. Raises: as `load_directory`."""
    metadata = read_json_object(path / "config.json")
    model_type, _ = read_directory_config(metadata)  # what is wrong in it is said first
    with open_safetensors(weights_file(path)) as file:
        plan, report = plan_directory(metadata, file, headless=headless)
        yield OpenDirectory(
            path, metadata, model_type, _family(model_type), plan, file.size_bytes, report
        )


def load_directory(path: Path, *, headless: bool = False) -> Loaded:
    """Reads, checks and packs the decoder of a directory; `headless` takes the embedding for head.

    Raises: FormatError for bad bytes; UnknownFamily, BadConfig, UnknownConfigKey, MissingTensor,
    UnexpectedTensor, ShapeMismatch for sound files that are no model of ours; OutOfPages when the
    weights do not fit the machine's memory.
    """
    with open_directory(path, headless=headless) as opened:
        return opened.load()


def plan_directory(
    metadata: Mapping[str, Any], file: SafetensorsFile, *, headless: bool = False
) -> tuple[Plan, Callable[[], LoadReport] | None]:
    """What a directory's decoder is made of, and how to say afterwards what became of its values.

    Raises: as `load_directory`.
    """
    text = text_config(metadata)
    model_type = str(text.get("model_type"))
    family = _family(model_type)
    table: Table = family.HUB
    config = table.read_config(text)
    slots: Mapping[str, Slot] = family.Model.slots(config)
    scheme = read_scheme(metadata)
    tensors = _text_tensors(file.tensors, wrapped=text is not metadata)
    sources = table.sources(slots, config, tensors)
    taken = {name for one in sources.values() for name in one.names}
    turned = {name for one in sources.values() if one.transposed for name in one.names}
    gathered = scheme.gather(tensors, taken) if scheme else Gathered({}, tensors)
    rows: dict[str, Rows] = {
        name: TransposedRows(_FloatRows(tensor)) if name in turned else _FloatRows(tensor)
        for name, tensor in gathered.plain.items()
    }
    rows.update(gathered.rows)
    found = match_tensors(
        rows,
        slots,
        sources,
        model_type,
        lambda name: table.may_leave(name, config),
    )
    tied = headless or bool(text.get("tie_word_embeddings", table.tied))
    _settle_head(found, tied=tied, family=model_type)
    plan = Plan(family.Model, config, slots, sources, found)
    return plan, partial(report_on, scheme.label, gathered.rows.values()) if scheme else None


def weights_file(path: Path) -> Path:
    """The safetensors file of a directory, or the index of several. Raises: BadConfig."""
    for name in ("model.safetensors.index.json", "model.safetensors"):
        if (path / name).is_file():
            return path / name
    kinds = (".bin", ".pt", ".pth", ".ckpt")
    pickles = sorted(f.name for f in path.iterdir() if f.suffix in kinds) or ["no such file"]
    raise BadConfig(
        "the directory holds no weights that are read here",
        expected="model.safetensors",
        found=pickles[0],
        hint="checkpoints that must be unpickled are never read; save them as safetensors",
    )


class _FloatRows:
    """A tensor of floats as rows; its values are the core's own."""

    is_view = True

    def __init__(self, tensor: SafetensorsTensor) -> None:
        self._tensor = tensor
        self.name = tensor.name
        self.shape: Shape = tensor.shape
        self.n_bytes = tensor.n_bytes

    @property
    def block_type(self) -> int:
        """The core's number of the float type. Raises: UnsupportedType."""
        if self._tensor.dtype not in _FLOATS:
            raise UnsupportedType(
                f"{self.name} is no matrix of floats",
                field=self.name,
                expected=", ".join(dtype.name for dtype in _FLOATS),
                found=self._tensor.dtype.name,
            )
        return _FLOATS[self._tensor.dtype]

    def raw(self, start: int, count: int) -> NDArray[np.uint8]:
        """Elements of the rows, a view of the file."""
        size = self._row_bytes()
        data = self._tensor.data()[start * size : (start + count) * size]
        return data.reshape(count, size)

    def release(self, start: int, count: int) -> None:
        """Gives the file's pages back."""
        self._tensor.release(start * self._row_bytes(), (start + count) * self._row_bytes())

    def _row_bytes(self) -> int:
        return self.n_bytes // int(np.prod(self.shape[:-1], dtype=np.int64))


def text_config(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The decoder's own configuration, inside that of a model for several media or not."""
    if str(metadata.get("model_type")) not in WRAPPERS:
        return metadata
    inner = metadata.get("text_config")
    if not isinstance(inner, dict):
        raise BadConfig(
            "the model for several media has no text part",
            family=str(metadata.get("model_type")),
            expected="text_config, an object",
            found="nothing" if inner is None else type(inner).__name__,
        )
    tied = metadata.get("tie_word_embeddings")
    return inner if tied is None else {"tie_word_embeddings": tied, **inner}


def _text_tensors(
    tensors: Mapping[str, SafetensorsTensor], *, wrapped: bool
) -> dict[str, SafetensorsTensor]:
    """The decoder's tensors by the names of a decoder saved alone, under its head."""
    if not wrapped and "embed_tokens.weight" in tensors:
        return {f"model.{name}": tensor for name, tensor in tensors.items()}
    if not wrapped:
        return dict(tensors)
    return {
        _alone(name): tensor
        for name, tensor in tensors.items()
        if not name.removeprefix("model.").startswith(_OTHER_MEDIA)
    }


def _alone(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            return rest if rest.startswith("lm_head.") else "model." + rest
    return name


def _settle_head(found: dict[str, tuple[Rows, ...]], *, tied: bool, family: str) -> None:
    """A tied head is the embedding, whatever lies beside it.

    Mutates: found. Raises: MissingTensor.
    """
    if tied:
        found.pop("head", None)
    elif "head" not in found:
        raise MissingTensor(
            "the checkpoint lacks its head, lm_head.weight",
            family=family,
            tensor="lm_head.weight",
            expected="a head, or tie_word_embeddings",
        )


def _family(model_type: str) -> ModuleType:
    if model_type not in DECODERS:
        raise _unknown(model_type)
    return import_module(f"freehold.loading.names.{DECODERS[model_type]}")


def _unknown(model_type: object) -> UnknownFamily:
    known = sorted({*DECODERS, *ENCODERS, *WRAPPERS})
    return UnknownFamily(
        "no family for this model_type",
        family=str(model_type)[:80],
        value=model_type,
        expected=" or ".join(known),
        found=repr(model_type)[:80],
        hint="the GGUF form of a model may name a family that is carried",
    )
