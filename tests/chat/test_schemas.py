"""Which schemas are refused, and with which words."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.chat.schemas import check_schema
from freehold.errors import BadSchema


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer", "minimum": 3}}},
        {"anyOf": [{"type": "string", "format": "date"}, {"const": 3}]},
        {"type": "array", "prefixItems": [{"type": "null"}], "items": False},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "x-order": 3, "title": "T"},
        {"properties": {"me": {"$ref": "#"}}},
        nested(40),
    ],
)
def test_accepts_what_can_be_enforced(schema: Any) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "keyword", "where"),
    [
        ({"not": {}}, "not", "at #"),
        ({"properties": {"a": {"uniqueItems": True}}}, "uniqueItems", "at #/properties/a"),
        ({"items": {"if": {}, "then": {}}}, "if", "at #/items"),
        ({"anyOf": [{}, {"contains": {}}]}, "contains", "at #/anyOf/1"),
        ({"$defs": {"d": {"propertyNames": {}}}}, "propertyNames", "at #/$defs/d"),
        ({"maximun": 3}, "maximun", "at #"),
        ({"x-guidance": {"lenient": True}}, "x-guidance", "at #"),
        ({"additionalItems": False}, "additionalItems", "at #"),
        ({"required": True}, "required", "at #"),
        ({"exclusiveMinimum": True}, "exclusiveMinimum", "at #"),
        ({"type": "text"}, "type", "at #"),
        ({"enum": []}, "enum", "at #"),
        ({"enum": list(range(2000))}, "enum", "at #"),
        ({"minLength": -1}, "minLength", "at #"),
        ({"maxLength": 10**9}, "maxLength", "at #"),
        ({"multipleOf": 0}, "multipleOf", "at #"),
        ({"format": "telephone"}, "format", "at #"),
        ({"properties": {"a": {"pattern": "("}}}, "pattern", "at #/properties/a"),
        ({"pattern": "(?=a)b"}, "pattern", "at #"),
        ({"patternProperties": {"[": {}}}, "pattern", "at #/patternProperties/["),
        ({"$ref": "https://example.org/x.json"}, "$ref", "at #"),
        ({"$ref": "#/$defs/absent"}, "$ref", "at #"),
        ({"$ref": "#"}, "$ref", "at #"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "$ref", "at #"),
        ({"oneOf": [{"type": "string"}, {"maxLength": 2}]}, "oneOf", "at #"),
        (
            {
                "type": "array",
                "items": {"type": "integer", "minimum": 9, "maximum": 3},
                "minItems": 1,
            },
            "minimum",
            "at #/items",
        ),
        (
            {"type": "object", "minProperties": 2, "properties": {"a": {}, "b": {}}},
            "minProperties",
            "at #",
        ),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "allOf", "at #"),
        (False, "false", "at #"),
        ([], "the schema", "at #"),
    ],
)
def test_refuses_the_rest_naming_the_keyword_and_the_place(
    schema: Any, keyword: str, where: str
) -> None:
    with pytest.raises(BadSchema) as refusal:
        check_schema(schema)
    assert refusal.value.value == keyword
    assert f"{keyword} {where} " in refusal.value.message


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (nested(200), "nested too deeply"),
        ({"description": "x" * (1 << 18)}, "too large"),
        ({"default": float("nan")}, "holds what JSON does not know"),
        ({1: {}}, "a key that is no text"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_refuses_by_size_and_depth_also_what_nothing_enforces(
    schema: Any, words: str, strict: bool
) -> None:
    with pytest.raises(BadSchema, match=words):
        check_schema(schema, strict=strict)


def test_what_nothing_enforces_may_use_any_keyword() -> None:
    check_schema({"not": {"type": "string"}, "format": "telephone"}, strict=False)


def test_values_that_look_like_schemas_are_not_read_as_schemas() -> None:
    check_schema({"enum": [{"not": 3}], "default": {"if": 1}, "examples": [{"format": "x"}]})
