"""Everything that can be said of one model, gathered.

Room: inspection. Decides what is looked at; must not know how it is shown.
Peak memory: the metadata, and what a pass over one tensor takes; weights are never held whole.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from freehold.errors import BadConfig, BadRequest, FormatError, FreeholdError, LoadError
from freehold.inspection.anatomy import Branch, Part, anatomy, part_of
from freehold.inspection.conversations import ChatFacts, chat_facts
from freehold.inspection.memory import Memory, memory_of
from freehold.inspection.safety import Finding, ranked, refusal, scan_model, scan_weights
from freehold.inspection.statistics import TensorStats, measure_tensor
from freehold.inspection.weights import OpenModel, OpenTensor, open_model
from freehold.inspection.words import TokenizerFacts, tokenizer_facts
from freehold.library.identity import Identity, identity_of
from freehold.library.progress import Progress, silent
from freehold.loading import (
    ModelShapes,
    TextSide,
    is_encoder,
    load_encoder_tokenizer,
    read_embedder,
    read_shapes,
    read_text_side,
)
from freehold.tokenizer import EncoderTokenizer

__all__ = ["Report", "TensorReport", "inspect_model", "plain"]

"""Called with a phase ("verify" or "measure"), the bytes done and the bytes in all."""

_THREADS = 2
_MOST_ITEMS = 4096  # more are a vocabulary, or an attack


@dataclass(frozen=True)
class TensorReport:
    """A tensor with its place and, where its values were read, their statistics."""

    name: str
    part: Part
    shape: tuple[int, ...]
    type: str
    n_bytes: int
    bits: float
    stats: TensorStats | None = None

    @property
    def elements(self) -> int:
        """How many values it has."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Report:
    """What a model is. Parts that could not be read are None, with the reason in `unread`.

    `refused` says that the file breaks its format: then only `findings` tell more. `suggested` is
    how its maker would draw.
    """

    name: str
    path: Path
    format: str
    size_bytes: int
    identity: Identity | None
    architecture: str = ""
    title: str = ""
    refused: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)
    tree: Branch | None = None
    tensors: tuple[TensorReport, ...] = ()
    memory: Memory | None = None
    tokenizer: TokenizerFacts | None = None
    chat: ChatFacts | None = None
    suggested: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Values of all tensors."""
        return sum(tensor.elements for tensor in self.tensors)


def inspect_model(
    path: Path,
    *,
    name: str | None = None,
    home: Path | None = None,
    only: str | None = None,
    progress: Progress = silent,
) -> Report:
    """Looks at a model. Unsound files are reported, not refused: see `Report.refused`.

    `only` is the one tensor whose values are read; by default all are.
    Raises: BadRequest for a tensor that is not there; OSError.
    """
    identity, unread = None, {}
    try:
        identity = identity_of(path, home=home, progress=progress)
    except FreeholdError as error:
        unread["identity"] = error.message
    try:
        with open_model(path) as model:
            return _inspected(model, name or str(path), identity, unread, only, progress)
    except (FormatError, LoadError) as error:
        size = path.stat().st_size if path.is_file() else 0
        return Report(
            name or str(path),
            path,
            "unsound",
            size,
            identity,
            refused=True,
            findings=ranked(refusal(path, error)),
            unread=unread,
        )


def _inspected(
    model: OpenModel,
    name: str,
    identity: Identity | None,
    unread: dict[str, str],
    only: str | None,
    progress: Progress,
) -> Report:
    shapes = _try(unread, "memory", lambda: _shapes(model))
    side = _try(unread, "tokenizer", lambda: _text_side(model))
    templates = side.templates if isinstance(side, TextSide) else {}
    tokenizer = side.tokenizer if isinstance(side, TextSide) else side
    findings = scan_model(model, templates or _own_templates(model.metadata), shapes)
    stats = _measured(_chosen(model, only), progress)
    findings += scan_weights(stats)
    return Report(
        name=name,
        path=model.path,
        format=model.format,
        size_bytes=model.size_bytes,
        identity=identity,
        architecture=model.architecture,
        title=_title(model),
        metadata=model.metadata,
        tree=anatomy(list(model.tensors.values())),
        tensors=tuple(
            TensorReport(
                t.name, part_of(t.name), t.shape, t.type, t.n_bytes, t.bits, stats.get(t.name)
            )
            for t in model.tensors.values()
        ),
        memory=None
        if shapes is None
        else memory_of(shapes, sum(t.n_bytes for t in model.tensors.values())),
        tokenizer=None
        if tokenizer is None
        else _try(
            unread, "tokenizer", lambda: tokenizer_facts(model.path, model.metadata, tokenizer)
        ),
        chat=None
        if not isinstance(side, TextSide)
        else _try(unread, "chat", lambda: chat_facts(side.templates, side.tokenizer)),
        suggested=side.suggested.said() if isinstance(side, TextSide) else {},
        findings=ranked(findings),
        unread=unread,
    )


_Read = TypeVar("_Read")


def _try(unread: dict[str, str], what: str, read: Callable[[], _Read]) -> _Read | None:
    """What `read` gives, or None and the reason in `unread`."""
    try:
        return read()
    except FreeholdError as error:
        unread[what] = error.message
        return None


def _shapes(model: OpenModel) -> ModelShapes:
    return read_shapes(model.metadata, model.tensors, gguf=model.format == "GGUF")


def _text_side(model: OpenModel) -> TextSide | EncoderTokenizer:
    if model.format == "safetensors" and not model.path.is_dir():
        raise BadConfig("weights alone: no tokenizer lies in a safetensors file")
    if is_encoder(model.path):
        return load_encoder_tokenizer(read_embedder(model.path))
    return read_text_side(model.path, dict(model.metadata) if model.format == "GGUF" else None)


def _own_templates(metadata: Mapping[str, object]) -> dict[str, str]:
    """Templates of a file whose tokenizer could not be read: they are judged all the same."""
    return {
        key: value
        for key, value in metadata.items()
        if key.startswith("tokenizer.chat_template") and isinstance(value, str)
    }


def _title(model: OpenModel) -> str:
    for key in ("general.name", "_name_or_path"):
        value = model.metadata.get(key)
        if isinstance(value, str) and value:
            return value[:200]
    path = model.path.resolve()
    return (path.name if path.is_dir() else path.stem)[:200]


def _chosen(model: OpenModel, only: str | None) -> list[OpenTensor]:
    if only is None:
        return [t for t in model.tensors.values() if t.readable and t.elements]
    if only not in model.tensors:
        close = get_close_matches(only, model.tensors, n=3)
        raise BadRequest(
            "the model has no such tensor",
            param="tensor",
            value=only[:120],
            expected=f"one of {len(model.tensors)} names",
            found=only[:120],
            hint=f"perhaps {' or '.join(close)}" if close else "`freehold inspect REF` lists them",
        )
    return [model.tensors[only]]


def _measured(tensors: list[OpenTensor], progress: Progress) -> dict[str, TensorStats]:
    total = sum(tensor.n_bytes for tensor in tensors)
    done = 0
    lock = Lock()

    def told(n_bytes: int) -> None:
        nonlocal done
        with lock:
            done += n_bytes
            progress("measure", min(done, total), total)

    with ThreadPoolExecutor(_THREADS) as pool:
        every = pool.map(lambda tensor: measure_tensor(tensor, told), tensors)
        return {tensor.name: stats for tensor, stats in zip(tensors, every, strict=True)}


def plain(value: object) -> Any:
    """A report, or a part of one, as JSON has it: long lists by their length and first items.

    Numbers that are not finite become null.
    """
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {key: inner for key, inner in fields.items() if not key.startswith("_")}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        items = [plain(inner) for inner in list(value)[:_MOST_ITEMS]]
        return items if len(value) <= _MOST_ITEMS else {"items": len(value), "first": items[:8]}
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str | None) else str(value)
