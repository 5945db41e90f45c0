"""Arguments that a dialect writes one by one: what their schemas say about each of them.

Room: chat. Knows JSON Schema as far as `schemas` allows it; must not know how a dialect writes.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.chat.schemas import refusal
from freehold.errors import BadSchema

__all__ = [
    "Parameter",
    "as_json",
    "json_or_text",
    "parameter_types",
    "parameters_of",
    "types_of",
    "with_definitions",
]

_MAX_REFERENCES = 64
# What the schema of a whole call may say besides its properties.
_AT_THE_ROOT = frozenset(
    {
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "additionalProperties",
        "default",
        "definitions",
        "deprecated",
        "description",
        "example",
        "examples",
        "properties",
        "required",
        "title",
        "type",
    }
)
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True)
class Parameter:
    """One argument: its name, its schema as a whole of its own, and whether it must be there."""

    name: str
    schema: Mapping[str, Any]
    required: bool


def with_definitions(schema: Mapping[str, Any] | bool, root: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a schema as one of its own, which its references still fit."""
    plain: dict[str, Any] = dict(schema) if isinstance(schema, Mapping) else {}
    if schema is False:
        plain = {"not": {}}
    return {**{key: root[key] for key in ("$defs", "definitions") if key in root}, **plain}


def parameters_of(schema: Mapping[str, Any]) -> list[Parameter]:
    """The arguments that a schema lists, in its order.

    Raises: BadSchema for a keyword about the arguments as a whole.
    """
    for keyword in schema:
        if keyword not in _AT_THE_ROOT and not keyword.startswith("x-"):
            raise BadSchema(
                f"{keyword} at # cannot be enforced for the way in which this model writes calls",
                value=keyword,
                hint="describe the arguments by properties and required",
            )
    if schema.get("type", "object") not in ("object", ["object"]):
        raise BadSchema("type at # is not object, which arguments are", value="type")
    properties = schema.get("properties", {})
    required = list(schema.get("required", ()))
    others = schema.get("additionalProperties", True)
    every = {**properties, **{name: others for name in required if name not in properties}}
    for name, inner in every.items():
        if _refers_to_root(inner):
            raise BadSchema(
                f"$ref at #/properties/{name} refers to the whole, which cannot be enforced for "
                "the way in which this model writes calls",
                value="$ref",
            )
    found = [
        Parameter(name, with_definitions(inner, schema), name in required)
        for name, inner in every.items()
    ]
    # What no value fits is never written.
    return [part for part in found if part.required or not refusal(part.schema)]


def _refers_to_root(value: Any) -> bool:
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        if isinstance(reference, str) and not reference.startswith(("#/$defs/", "#/definitions/")):
            return True
        return any(map(_refers_to_root, value.values()))
    return isinstance(value, list | tuple) and any(map(_refers_to_root, value))


def parameter_types(schema: object, name: str) -> frozenset[str] | None:
    """The types of one argument; None where the schema of the call does not say."""
    if not isinstance(schema, Mapping):
        return None
    properties = schema.get("properties")
    inner = properties.get(name) if isinstance(properties, Mapping) else None
    return types_of(inner, schema)


def types_of(
    schema: object, root: Mapping[str, Any], left: int = _MAX_REFERENCES
) -> frozenset[str] | None:
    """The types that a schema allows; None for any."""
    if not isinstance(schema, Mapping) or left <= 0:
        return None
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return frozenset({kinds})
    if isinstance(kinds, list | tuple):
        return frozenset(kind for kind in kinds if isinstance(kind, str))
    if "const" in schema or isinstance(schema.get("enum"), list | tuple):
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return frozenset(map(_type_of, values))
    if isinstance(schema.get("$ref"), str):
        return types_of(_target(schema["$ref"], root), root, left - 1)
    for keyword in ("anyOf", "oneOf"):
        parts = schema.get(keyword)
        if isinstance(parts, list | tuple) and parts:
            found = [types_of(part, root, left - 1) for part in parts]
            known = [kinds for kinds in found if kinds is not None]
            return frozenset().union(*known) if len(known) == len(found) else None
    parts = schema.get("allOf")
    if isinstance(parts, list | tuple):
        return next((k for part in parts if (k := types_of(part, root, left - 1))), None)
    return None


def _target(reference: str, root: Mapping[str, Any]) -> object:
    target: object = root
    for step in reference.split("/")[1:]:
        target = target.get(step) if isinstance(target, Mapping) else None
    return target


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def as_json(text: str, types: frozenset[str] | None) -> str:
    """An untyped value as JSON, by the types it may have.

    What can be read as a value of another allowed type than a string, is one. All else is a string,
    also where none is allowed: nothing is dropped.
    """
    for said, value in _readings(text.strip()):
        kind = _type_of(value)
        if kind != "string" and (types is None or kind in types):
            return said
        if types is not None and kind in ("integer", "number"):
            if "number" in types:
                return said
            if "integer" in types and math.isfinite(value) and value == int(value):
                return str(int(value))
    return json.dumps(text, ensure_ascii=False)


def json_or_text(text: str) -> str:
    """A value that is said to be JSON; a string if it is none."""
    return next((said for said, _ in _readings(text.strip())), json.dumps(text, ensure_ascii=False))


def _readings(text: str) -> Iterator[tuple[str, Any]]:
    """What a text may mean, as JSON and as a value: read as JSON, or as Python writes the same."""
    said = _PYTHON_WORDS.get(text, text)
    try:
        yield said, json.loads(said, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        if text[:1] in ("{", "["):
            yield from _python_reading(text)


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _python_reading(text: str) -> Iterator[tuple[str, Any]]:
    try:
        value = ast.literal_eval(text)
        said = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return
    yield said, value
