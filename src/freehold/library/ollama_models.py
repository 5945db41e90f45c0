"""Models in Ollama's store: a manifest of layers, each a blob under its own digest.

Room: library. Reads manifests, which are untrusted; must not copy or open any blob.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import BadReference, UnknownModel
from freehold.formats.json_file import read_json_object
from freehold.library.names import Sha256
from freehold.library.nearby import ollama_store

__all__ = ["OllamaModel", "ollama_model"]

_NAME = re.compile(
    r"(?:(?P<host>[A-Za-z0-9][A-Za-z0-9.-]{0,99})/)?(?:(?P<space>[A-Za-z0-9][\w.-]{0,79})/)?"
    r"(?P<model>[A-Za-z0-9][\w.-]{0,79})(?::(?P<tag>[A-Za-z0-9][\w.-]{0,79}))?",
    re.ASCII,
)
_KIND = "application/vnd.ollama.image."
_MAX_LAYERS = 64


@dataclass(frozen=True, kw_only=True)
class OllamaModel:
    """The blobs of a model that are used here: its GGUF file, and the texts of its licence."""

    name: str
    weights: Path
    sha256: Sha256
    licences: tuple[tuple[Path, Sha256], ...]


def ollama_model(name: str) -> OllamaModel:
    """The model `[org/]name[:tag]` of the store that OLLAMA_MODELS names.

    Raises: UnknownModel when it is not there; BadReference for a manifest out of order, and for a
    model with parts that would be lost: an adapter.
    """
    match = _NAME.fullmatch(name)
    if match is None or ".." in name:
        raise BadReference(
            "this is not the name of a model of Ollama",
            value=name,
            expected="name:tag, as `ollama list` shows it",
            found=repr(name)[:100],
            hint="freehold import ollama:NAME:TAG",
        )
    space, tag = match["space"] or match["host"] or "library", match["tag"] or "latest"
    host = match["host"] if match["host"] and match["space"] else "registry.ollama.ai"
    store = ollama_store()
    manifest = store / "manifests" / host / space / match["model"] / tag
    if not manifest.is_file():
        raise UnknownModel(
            f"Ollama's store has no {name!r}",
            value=name,
            expected=f"a manifest at {manifest}",
            found="nothing there",
            hint="`ollama list` shows what there is; OLLAMA_MODELS names another store",
        )
    layers = _layers(read_json_object(manifest), manifest)
    if any(kind == "adapter" for kind, _ in layers):
        raise _bad(manifest, "weights alone", "an adapter, without which it is another model")
    weights = [digest for kind, digest in layers if kind == "model"]
    if len(weights) != 1:
        raise _bad(manifest, "one layer of weights", f"{len(weights)} of them")
    return OllamaModel(
        name=f"{match['model']}-{tag}" if tag != "latest" else match["model"],
        weights=_blob(store, weights[0]),
        sha256=weights[0],
        licences=tuple(
            (_blob(store, digest), digest) for kind, digest in layers if kind == "license"
        ),
    )


def _layers(table: dict[str, object], manifest: Path) -> list[tuple[str, Sha256]]:
    """Each layer's kind and digest."""
    layers = table.get("layers")
    if not isinstance(layers, list) or len(layers) > _MAX_LAYERS:
        raise _bad(manifest, f"a list of at most {_MAX_LAYERS} layers", "something else")
    found = []
    for layer in layers:
        kind = layer.get("mediaType") if isinstance(layer, dict) else None
        if not isinstance(kind, str):
            raise _bad(manifest, "layers with a type", "one without")
        found.append((kind.removeprefix(_KIND), Sha256.parse(layer.get("digest"))))
    return found


def _blob(store: Path, digest: Sha256) -> Path:
    path = store / "blobs" / f"sha256-{digest}"
    if not path.is_file():
        raise _bad(path, "the layer's bytes", "nothing there")
    return path


def _bad(path: Path, expected: str, found: str) -> BadReference:
    return BadReference(
        f"a model in Ollama's store cannot be taken over: {path}",
        value=str(path),
        expected=expected,
        found=found,
        hint="`ollama pull` it again, or get it from where it was published",
    )
