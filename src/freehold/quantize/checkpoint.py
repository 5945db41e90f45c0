"""A directory of safetensors as it would lie in GGUF: names, order of rows, metadata.

Room: quantize. Must not know families: loading's tables say where everything lies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from freehold.formats import gguf_writer as say
from freehold.formats.block_types import BlockType
from freehold.loading.directory import OpenDirectory, open_directory
from freehold.loading.gguf import Origin
from freehold.loading.gguf_vocabulary import vocabulary_keys
from freehold.loading.gguf_words import architecture_of, decoder_keys, places_of, rope_divisors
from freehold.loading.placing import placed
from freehold.loading.plan import Plan
from freehold.loading.sources import Source as Place
from freehold.quantize.source import Floats, Source, SourceTensor

__all__ = ["open_checkpoint"]

_LICENCE = re.compile(r"^license:\s*[\"']?([\w.+-]{1,64})[\"']?\s*$", re.MULTILINE)
_MAX_CARD_BYTES = 1 << 20


def open_checkpoint(path: Path, change: Callable[[Plan, str], Plan] | None = None) -> Source:
    """Opens a directory; `change` may plan it otherwise, given its plan and its model_type.

    Raises: FormatError, LoadError, UnknownTokenizer, BadTokenizer.
    """
    with ExitStack() as stack:
        opened = stack.enter_context(open_directory(path))
        if change is not None:
            opened = replace(opened, plan=change(opened.plan, opened.model_type))
        architecture = architecture_of(opened)
        places = places_of(opened)
        metadata = _metadata(opened, architecture)
        tensors: dict[str, SourceTensor] = {}
        for canonical, place in places.items():
            tensor = _tensor(opened, canonical, place)
            tensors[tensor.name] = tensor
        divisors = rope_divisors(opened.plan.config)
        if divisors is not None:
            tensors["rope_freqs.weight"] = _vector("rope_freqs.weight", divisors)
        return Source(
            path=path,
            architecture=architecture,
            metadata=metadata,
            raw_metadata={key: _value(value) for key, value in metadata.items()},
            tensors=tensors,
            size_bytes=opened.file_bytes,
            weight_bytes=sum(
                piece.n_bytes for some in opened.plan.found.values() for piece in some
            ),
            load=partial(opened.load, in_place=True),
            on_close=stack.pop_all().close,
            places={name: Origin(opened.plan.slots[name], place) for name, place in places.items()},
        )


def _metadata(opened: OpenDirectory, architecture: str) -> dict[str, Any]:
    said: dict[str, Any] = {
        "general.architecture": architecture,
        "general.type": "model",
        "general.name": opened.path.resolve().name,
    }
    licence = _licence(opened.path / "README.md")
    if licence is not None:
        said["general.license"] = licence
    keys = decoder_keys(opened, architecture)
    said |= {f"{architecture}.{key}": value for key, value in keys.items()}
    return said | vocabulary_keys(opened.path, opened.plan.config.vocabulary)


def _licence(card: Path) -> str | None:
    """The licence that the head of a model card names."""
    if not card.is_file() or card.stat().st_size > _MAX_CARD_BYTES:
        return None
    head, dashes, _rest = (
        card.read_text("utf-8", "replace").removeprefix("---\n").partition("\n---")
    )
    found = _LICENCE.search(head) if dashes else None
    return found[1] if found else None


def _value(value: Any) -> bytes:
    """A Python value in the type that GGUF has for its kind."""
    if isinstance(value, bool):
        return say.truth(value)
    if isinstance(value, int):
        return say.u32(value) if value >= 0 else say.i32(value)
    if isinstance(value, float):
        return say.f32(value)
    if isinstance(value, str):
        return say.string(value)
    return say.values(value) if isinstance(value, np.ndarray) else say.strings(value)


def _tensor(opened: OpenDirectory, canonical: str, place: Place) -> SourceTensor:
    (found,) = placed(opened.plan, canonical, place)  # a slot of a directory is one tensor in GGUF
    if not found.matrix:
        return _vector(found.name, found.rows(0, found.row_count).reshape(found.shape))
    return SourceTensor(
        found.name,
        found.shape,
        BlockType.F32,
        found.rows,
        lambda: found.rows(0, found.row_count).reshape(-1).view(np.uint8),
    )


def _vector(name: str, values: Floats) -> SourceTensor:
    """A tensor that is small enough to lie in memory."""
    kept = np.ascontiguousarray(values, np.float32)
    rows = kept.reshape(-1, kept.shape[-1])
    return SourceTensor(
        name,
        kept.shape,
        BlockType.F32,
        lambda start, count: rows[start : start + count],
        lambda: kept.reshape(-1).view(np.uint8),
    )
