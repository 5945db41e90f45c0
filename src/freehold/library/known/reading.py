"""Reads the file of known models, once, and refuses anything it does not say in full.

Room: library. Must not know what the data is used for.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from freehold.errors import BadValue
from freehold.library.known.model import (
    COMPONENTS,
    TASKS,
    Experts,
    KnownModel,
    Latent,
    Recurrent,
    Shape,
)

__all__ = ["known_model", "known_models", "known_version", "parse_known"]

_FILE = "models.toml"
_PARTS = {"latent": Latent, "recurrent": Recurrent, "experts": Experts}
_FORMS = {
    "hub": re.compile(r"[\w.-]+/[\w.-]+", re.ASCII),
    "family": re.compile(r"[a-z0-9_-]+"),
    "licence": re.compile(r"[a-z0-9.-]+"),
    "released": re.compile(r"20\d\d-(0[1-9]|1[0-2])"),
    "source": re.compile("config|facts"),
    "native": re.compile("mxfp4|fp8"),
}
_MOST = 1 << 46  # no count in the file comes near

Kind = TypeVar("Kind")


def known_models() -> tuple[KnownModel, ...]:
    """Every known model, in the order a person should read them."""
    return _read()[1]


def known_version() -> str:
    """The date of the data."""
    return _read()[0]


def known_model(ref: str) -> KnownModel | None:
    """The model of a hub reference, its name's last part, or a short name; None for others.

    Case does not count, and a quantization after a colon is left out: `org/name:Q4_K_M`.
    """
    wanted = ref.split(":", 1)[0].lower()
    for model in known_models():
        if wanted in (model.short, model.hub.lower(), model.hub.lower().rsplit("/", 1)[-1]):
            return model
    return None


@cache
def _read() -> tuple[str, tuple[KnownModel, ...]]:
    return parse_known(files(__package__).joinpath(_FILE).read_text("utf-8"))


def parse_known(text: str) -> tuple[str, tuple[KnownModel, ...]]:
    """The version and the models of a file's text.

    Raises: BadValue for what is missing, unknown, of another type, or named twice.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(_FILE, "TOML 1.0", str(error)) from error
    if table.keys() != {"version", "model"}:
        raise _bad(_FILE, "version and model", ", ".join(table))
    models = tuple(_model(row) for row in table["model"])
    names = [name for model in models for name in (model.hub.lower(), model.short) if name]
    for name in names:
        if names.count(name) > 1:
            raise _bad("hub", "each model once", name)
    return str(table["version"]), models


def _model(row: Mapping[str, Any]) -> KnownModel:
    said = dict(row)
    name = str(said.get("hub"))
    for key, allowed in (("tasks", TASKS), ("published", COMPONENTS)):
        words = said.get(key)
        if not isinstance(words, list) or not words or not set(words) <= set(allowed):
            raise _bad(f"{name}: {key}", f"some of {', '.join(allowed)}", repr(words))
        said[key] = tuple(words)
    for key, form in _FORMS.items():
        if key in said and not (isinstance(said[key], str) and form.fullmatch(said[key])):
            raise _bad(f"{name}: {key}", form.pattern, repr(said[key]))
    said.setdefault("active", _less(said.get("parameters"), said.get("vision", 0)))
    if "shape" in said:
        said["shape"] = _shape(said["shape"], name)
    return _built(KnownModel, said, name)


def _less(whole: object, part: object) -> object:
    both = isinstance(whole, int) and isinstance(part, int)
    return whole - part if both else whole  # type: ignore[operator]


def _shape(row: object, name: str) -> Shape:
    if not isinstance(row, dict):
        raise _bad(f"{name}: shape", "a table", repr(row))
    said = dict(row)
    for key, kind in _PARTS.items():
        if key in said:
            said[key] = _built(kind, said[key], f"{name}: {key}")
    return _built(Shape, said, f"{name}: shape")


def _built(kind: type[Kind], said: Mapping[str, Any], name: str) -> Kind:
    """A row as its type; every field is there, or has a default."""
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    for key, value in said.items():
        if key not in known:
            raise _bad(f"{name}: {key}", "one of " + ", ".join(known), "an unknown key")
        wanted = str(known[key].type).split(" | ", 1)[0]
        if type(value).__name__ != wanted.split("[", 1)[0]:
            raise _bad(f"{name}: {key}", wanted, repr(value)[:80])
        if wanted == "int" and not 0 <= value < _MOST:
            raise _bad(f"{name}: {key}", f"0 to {_MOST}", repr(value))
    missing = [key for key, each in known.items() if each.default is MISSING and key not in said]
    if missing:
        raise _bad(f"{name}: {missing[0]}", "a value", "nothing")
    return kind(**said)


def _bad(field: str, expected: str, found: str) -> BadValue:
    return BadValue(
        "the file of known models is not what it should be",
        path=_FILE,
        field=field,
        expected=expected,
        found=found,
    )
