"""Whether a JSON Schema can be enforced, said before any work is done.

Room: chat. Knows JSON Schema and what llguidance makes of it; must not know requests or dialects.

llguidance refuses most of what it cannot do, and ignores the rest without a word: that is why every
keyword must be known here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from llguidance import LLMatcher

from freehold.chat.formats import FORMATS, enforceable, mapped
from freehold.errors import BadSchema

__all__ = ["check_grammar", "check_schema", "refusal"]

_MAX_BYTES = 1 << 18
_MAX_NESTING = 64
_MAX_VALUES = 1024
_MAX_PROPERTIES = 512
_MAX_LENGTH = 10_000
_MAX_SAID = 240

# How many parts of a schema are tried, to say which one cannot be enforced.
_MAX_TRIES = 300

# Keywords that join schemas, and so may join what contradicts itself.
_VAGUE = frozenset({"properties", "required", "type"})
_JOINING = ("pattern", "allOf", "$ref", "anyOf", "oneOf")

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
# Say something about a value, and ask nothing of it.
_ANNOTATIONS = frozenset(
    {
        "$comment",
        "$id",
        "$schema",
        "contentEncoding",
        "contentMediaType",
        "default",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "externalDocs",
        "nullable",
        "readOnly",
        "title",
        "writeOnly",
        "xml",
    }
)


def check_schema(schema: object, *, strict: bool = True) -> None:
    """Checks a schema. Not `strict`: only its size and depth, for one that nothing enforces.

    Raises: BadSchema naming the keyword and where it stands.
    """
    if not isinstance(schema, Mapping | bool):
        raise _bad("the schema", "#", "is neither an object nor true or false")
    if isinstance(schema, bool):
        if strict and not schema:
            raise _bad("false", "#", "allows no value at all")
        return
    _check_nesting(schema)
    try:
        size = len(json.dumps(schema, ensure_ascii=False, allow_nan=False))
    except (ValueError, TypeError):
        raise _bad("the schema", "#", "holds what JSON does not know") from None
    if size > _MAX_BYTES:
        raise BadSchema(
            "the schema is too large",
            expected=f"at most {_MAX_BYTES} characters",
            found=f"{size}",
        )
    if strict:
        _check(schema, "#", schema)
        _check_patterns(schema)
        if refusal(schema):
            raise _blame(schema)


def _check_patterns(schema: Mapping[str, Any]) -> None:
    """All expressions at once: llguidance leaves out an optional property with a wrong one."""
    places = {at: part["pattern"] for part, at in _parts(schema, "#") if "pattern" in part}
    for part, at in _parts(schema, "#"):
        places |= {
            f"{at}/patternProperties/{key}": key for key in part.get("patternProperties", ())
        }
    every = {at: {"type": "string", "pattern": pattern} for at, pattern in places.items()}
    if not refusal({"type": "object", "properties": every, "required": list(every)}):
        return
    for at, pattern in list(every.items())[:_MAX_TRIES]:
        if said := refusal(pattern):
            raise BadSchema(f"pattern at {at} cannot be enforced", value="pattern", found=said)
    raise BadSchema("the schema's patterns are too many to be enforced", value="pattern")


def _parts(schema: Mapping[str, Any], at: str) -> list[tuple[Mapping[str, Any], str]]:
    """A schema and every schema inside it, with its path."""
    found = [(schema, at)]

    def look(part: Any, where: str) -> None:
        if isinstance(part, Mapping):
            found.extend(_parts(part, at + where))

    mapped(schema, look)
    return found


def check_grammar(grammar: str, what: str) -> None:
    """Lets llguidance check a grammar, without a tokenizer. Raises: BadSchema with its words."""
    wrong, said = LLMatcher.validate_grammar_with_warnings(grammar)
    if wrong:
        raise BadSchema(f"{what} cannot be enforced", found=_first_line(said[0]))


def refusal(schema: Mapping[str, Any] | bool) -> str:
    """What llguidance says against a schema, or nothing."""
    wrong, said = LLMatcher.validate_grammar_with_warnings(
        "%llguidance {}\nstart: %json " + json.dumps(enforceable(schema))
    )
    return _first_line(said[0]) if wrong else ""


def _blame(schema: Mapping[str, Any]) -> BadSchema:
    """The error for a schema that llguidance refuses, about the innermost part it refuses."""
    culprit, at, said = schema, "#", refusal(schema)
    tries = _MAX_TRIES
    while tries > 0:
        for part, where in _parts(culprit, at)[1:]:
            tries -= 1
            if words := refusal(_with_definitions(part, schema)):
                culprit, at, said = part, where, words
                break
        else:
            break
    own = [key for key in culprit if key in _KEYWORDS and not key.startswith("$def")]
    words = said.replace("min/maxProperties", "minProperties maxProperties").lower()
    told = (key for key in sorted(own, key=_VAGUE.__contains__) if key.lower() in words)
    keyword = next(told, next((key for key in _JOINING if key in own), (own or ["it"])[0]))
    return BadSchema(f"{keyword} at {at} cannot be enforced", value=keyword, found=said)


def _with_definitions(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**{key: root[key] for key in ("$defs", "definitions") if key in root}, **schema}


def _first_line(said: str) -> str:
    line = said.split("\n", 1)[0]
    return line.rsplit("failed to compile JSON schema: ", maxsplit=1)[-1][:_MAX_SAID]


def _check_nesting(schema: object) -> None:
    level, depth = [schema], 0
    while level:
        depth += 1
        if depth > 2 * _MAX_NESTING:
            raise BadSchema("the schema is nested too deeply", expected=f"{_MAX_NESTING} levels")
        inner: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                if not all(isinstance(key, str) for key in value):
                    raise _bad("the schema", "#", "has a key that is no text")
                inner += value.values()
            elif isinstance(value, list | tuple):
                inner += value
        level = inner


def _bad(keyword: str, at: str, what: str, *, hint: str = "") -> BadSchema:
    return BadSchema(f"{keyword} at {at} {what}", value=keyword, hint=hint)


def _check(schema: object, at: str, root: Mapping[str, Any]) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise _bad("the schema", at, "is neither an object nor true or false")
    for keyword, value in schema.items():
        if keyword in _ANNOTATIONS or (keyword.startswith("x-") and keyword != "x-guidance"):
            continue
        check = _KEYWORDS.get(keyword)
        if check is None:
            raise _bad(
                keyword, at, "cannot be enforced", hint="leave it out, or say it in a description"
            )
        for inner, where in check(keyword, value, at, root):
            _check(inner, where, root)


Parts = Iterator[tuple[object, str]]
Check = Callable[[str, Any, str, Mapping[str, Any]], Parts]


def _schemas_by_name(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    if not isinstance(value, Mapping):
        raise _bad(keyword, at, "is no object of schemas")
    if len(value) > _MAX_PROPERTIES:
        raise _bad(keyword, at, f"has more than {_MAX_PROPERTIES} entries")
    for name, schema in value.items():
        yield schema, f"{at}/{keyword}/{name}"


def _schemas(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    if not isinstance(value, list | tuple) or not value:
        raise _bad(keyword, at, "is no list of schemas")
    if len(value) > _MAX_VALUES:
        raise _bad(keyword, at, f"has more than {_MAX_VALUES} entries")
    for i, schema in enumerate(value):
        yield schema, f"{at}/{keyword}/{i}"


def _schema(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    yield value, f"{at}/{keyword}"


def _type(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(n in _TYPES for n in names):
        raise _bad(keyword, at, f"is not one or several of {', '.join(sorted(_TYPES))}")
    yield from ()


def _values(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    if not isinstance(value, list | tuple) or not value:
        raise _bad(keyword, at, "is no list of values")
    if len(value) > _MAX_VALUES:
        raise _bad(keyword, at, f"has more than {_MAX_VALUES} values")
    yield from ()


def _names(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise _bad(keyword, at, "is no list of names")
    if len(value) > _MAX_PROPERTIES:
        raise _bad(keyword, at, f"has more than {_MAX_PROPERTIES} names")
    yield from ()


def _anything(_keyword: str, _value: Any, _at: str, _root: Mapping[str, Any]) -> Parts:
    yield from ()


def _count(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise _bad(keyword, at, "is no whole number")
    if not 0 <= value <= _MAX_LENGTH:
        raise _bad(keyword, at, f"is not between 0 and {_MAX_LENGTH}")
    yield from ()


def _number(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad(keyword, at, "is no number")
    yield from ()


def _multiple(keyword: str, value: Any, at: str, root: Mapping[str, Any]) -> Parts:
    yield from _number(keyword, value, at, root)
    if value <= 0:
        raise _bad(keyword, at, "is not above 0")


def _format(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    if value not in FORMATS:
        raise _bad(
            keyword,
            at,
            "is not a format that can be enforced",
            hint=f"use one of {', '.join(sorted(FORMATS))}",
        )
    yield from ()


def _pattern(keyword: str, value: Any, at: str, _root: Mapping[str, Any]) -> Parts:
    if not isinstance(value, str):
        raise _bad(keyword, at, "is no text")
    yield from ()


def _reference(keyword: str, value: Any, at: str, root: Mapping[str, Any]) -> Parts:
    seen = set()
    while True:
        if not isinstance(value, str) or not (value == "#" or value.startswith("#/")):
            raise _bad(keyword, at, "does not stay inside the schema", hint="use #/$defs/...")
        if value in seen:
            raise _bad(keyword, at, "refers to itself and says nothing else")
        seen.add(value)
        target = _target(value, keyword, at, root)
        if not isinstance(target, Mapping) or "$ref" not in target:
            break
        value = target["$ref"]
    yield from ()


def _target(reference: str, keyword: str, at: str, root: Mapping[str, Any]) -> object:
    target: object = root
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, Mapping) or name not in target:
            raise _bad(keyword, at, "refers to what is not there")
        target = target[name]
    return target


_KEYWORDS: Final[Mapping[str, Check]] = {
    "$defs": _schemas_by_name,
    "$ref": _reference,
    "additionalProperties": _schema,
    "allOf": _schemas,
    "anyOf": _schemas,
    "const": _anything,
    "definitions": _schemas_by_name,
    "enum": _values,
    "exclusiveMaximum": _number,
    "exclusiveMinimum": _number,
    "format": _format,
    "items": _schema,
    "maxItems": _count,
    "maxLength": _count,
    "maxProperties": _count,
    "maximum": _number,
    "minItems": _count,
    "minLength": _count,
    "minProperties": _count,
    "minimum": _number,
    "multipleOf": _multiple,
    "oneOf": _schemas,
    "pattern": _pattern,
    "patternProperties": _schemas_by_name,
    "prefixItems": _schemas,
    "properties": _schemas_by_name,
    "required": _names,
    "type": _type,
}
