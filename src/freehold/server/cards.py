"""What there is to ask for: one card per model, read from the file's header.

Room: server. Never reads weights; must not know how a model is run.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from freehold import library
from freehold.config import Settings
from freehold.errors import BadSetting, FormatError, FreeholdError, LoadError
from freehold.formats.gguf import open_gguf
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import open_safetensors
from freehold.loading import is_encoder, read_embedder, weights_file
from freehold.models.registry import ENCODERS

__all__ = ["ModelCard", "cards_of"]

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[^A-Za-z0-9._:/-]+")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A model that may be asked for, by `id`; `created` in unix seconds.

    An adapter's card is that of its base, the `parent`, under the adapter's name.
    """

    id: str
    created: int
    kind: Literal["chat", "embedding"]
    path: Path
    size_bytes: int
    sha256: str | None = None
    family: str = ""
    parameters: int | None = None
    quantization: str | None = None
    context_tokens: int | None = None
    licence: str | None = None
    system: str | None = None
    loaded: bool = False
    parent: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A model of the store, by the name that it has there."""

    name: str
    path: Path
    licence: str | None
    sha256: str | None
    system: str | None = None


def cards_of(refs: Sequence[str], settings: Settings) -> dict[str, ModelCard]:
    """The cards of the models named at the start, these first, and of those in the store, by id.

    What is not of the store is asked for by its file's name without the ending, or its directory's:
    a request never holds a path. A model of the store that cannot be read, and that nobody named,
    is left out with a warning.
    Raises: UnknownModel, DigestMismatch, FormatError for a named one; BadSetting when two named
    ones would have the same id.
    """
    kept = _kept(settings)
    by_place = {os.path.realpath(one.path): one for one in kept}
    by_name = {one.name: one for one in reversed(kept)}
    cards: dict[str, ModelCard] = {}
    for ref in dict.fromkeys(refs):
        path = library.resolve(ref, settings=settings)
        known = by_place.get(os.path.realpath(path))  # by its name, or its place in the store
        name = known.name if known is not None else _name_of(path)
        if known is None and name in by_name and by_name[name].path.samefile(path):
            known = by_name[name]  # imported from there, and sharing its bytes
        if name in cards and cards[name].path.samefile(path):
            continue
        if name in cards or (known is None and name in by_name):
            raise BadSetting(
                f"two models would be called {name!r}",
                value=ref,
                expected="files with different names",
                found=str(path),
                hint="rename one of the files",
            )
        cards[name] = _card(path, known or _Kept(name=name, path=path, licence=None, sha256=None))
    for one in kept:
        if one.name not in cards:
            try:
                cards[one.name] = _card(one.path, one)
            except (FormatError, LoadError, OSError) as error:
                why = error.code if isinstance(error, FreeholdError) else type(error).__name__
                _LOG.warning("%s of the store is not served: %s", one.name, why)
    return cards


def _name_of(path: Path) -> str:
    """What a model that is not of the store is called."""
    return _NAME.sub("-", path.resolve().name if path.is_dir() else path.stem)


def _kept(settings: Settings) -> list[_Kept]:
    """The models of the store, of each name the latest one first."""
    kept = [
        _Kept(
            name=on.entry.name,
            path=on.path,
            licence=on.entry.licence,
            sha256=on.entry.sha256 if on.entry.folder is None else None,
            system=on.entry.system,
        )
        for on in library.shelf(settings.models_dir)
        if on.present
    ]
    return kept + [
        _Kept(
            name=held.ref,
            path=held.path,
            licence=held.licence,
            sha256=None if held.model is None else held.weights.sha256.hex,
        )
        for held in library.held_models(settings.models_dir)
    ]


def _card(path: Path, kept: _Kept) -> ModelCard:
    name, licence, system = kept.name, kept.licence, kept.system
    if path.is_dir() and not is_encoder(path):
        return _directory_card(name, path, licence, system)
    if path.is_dir():
        plan = read_embedder(path)
        files = [file for file in path.rglob("*") if file.is_file()]
        return ModelCard(
            id=name,
            created=int(path.stat().st_mtime),
            kind="embedding",
            path=path,
            size_bytes=sum(file.stat().st_size for file in files),
            family=plan.family,
            quantization="int16" if plan.family in ENCODERS else None,
            context_tokens=plan.context_tokens,
            licence=licence,
            system=system,
        )
    with open_gguf(path) as file:
        types = Counter[str]()
        for tensor in file.tensors.values():
            types[tensor.type.name] += tensor.n_bytes
        return ModelCard(
            id=name,
            created=int(path.stat().st_mtime),
            kind="chat",
            path=path,
            size_bytes=file.size_bytes,
            sha256=kept.sha256,
            family=file.architecture,
            parameters=sum(math.prod(tensor.shape) for tensor in file.tensors.values()),
            quantization=types.most_common(1)[0][0] if types else None,
            context_tokens=_whole(file.metadata, f"{file.architecture}.context_length"),
            licence=licence,
            system=system,
        )


def _directory_card(name: str, path: Path, licence: str | None, system: str | None) -> ModelCard:
    """The card of a directory with a decoder."""
    config = read_json_object(path / "config.json")
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    types = Counter[str]()
    with open_safetensors(weights_file(path)) as file:
        for tensor in file.tensors.values():
            types[tensor.dtype.name] += tensor.n_bytes
        return ModelCard(
            id=name,
            created=int(path.stat().st_mtime),
            kind="chat",
            path=path,
            size_bytes=file.size_bytes,
            family=str(text.get("model_type", "")),
            parameters=sum(math.prod(tensor.shape) for tensor in file.tensors.values()),
            quantization=types.most_common(1)[0][0] if types else None,
            context_tokens=_whole(text, "max_position_embeddings"),
            licence=licence,
            system=system,
        )


def _whole(metadata: Mapping[str, object], key: str) -> int | None:
    value = metadata.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
