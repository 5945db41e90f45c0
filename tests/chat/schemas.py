"""JSON Schemas and tool definitions made at random, the same for the same seed.

Some use keywords that nothing can enforce, or contradict themselves: those must be refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["generated_schemas", "generated_tools"]

Schema = dict[str, Any]

_WORDS = ["city", "days", "unit", "name", "a b", "ü", "x-y", "list", "id", "von", "n1", "äöü", "é"]
_TEXTS = ["", "red", "green", "blue", 'a"b', "line\nbreak", "\\", "ünïcode", "{}", "12"]
_FORMATS = ["date", "date-time", "time", "email", "uuid", "ipv4", "ipv6", "hostname", "uri"]
_PATTERNS = ["^[a-z]{1,5}$", "^x-", "[0-9]{3}$", "ab+c", r"^\d{2}-\d{2}$", "^(on|off)$", "a|b"]

_BAD: list[Schema] = [
    {"not": {"type": "string"}},
    {"if": {"type": "string"}, "then": {"minLength": 2}},
    {"uniqueItems": True},
    {"contains": {"type": "integer"}},
    {"dependentRequired": {"a": ["b"]}},
    {"propertyNames": {"pattern": "^a"}},
    {"unevaluatedProperties": False},
    {"$dynamicRef": "#x"},
    {"$ref": "https://example.org/other.json"},
    {"$ref": "#/$defs/absent"},
    {"type": "strnig"},
    {"type": "string", "format": "telephone"},
    {"type": "string", "pattern": "(?=a)b"},
    {"type": "string", "pattern": "("},
    {"type": "string", "minLength": -1},
    {"type": "integer", "minimum": "three"},
    {"enum": []},
    {"required": True},
    {"additionalItems": False},
    {"maximun": 3},
    {"x-guidance": {"lenient": True}},
    {"divisibleBy": 2},
]


class _Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def schema(self, depth: int) -> Schema:
        kinds: list[Callable[[int], Schema]] = [
            self.string,
            self.integer,
            self.number,
            self.boolean,
            self.null,
            self.values,
        ]
        if depth > 0:
            kinds += [self.object, self.object, self.array, self.any_of, self.one_of, self.all_of]
        schema = self.random.choice(kinds)(depth - 1)
        if self.random.random() < 0.2:
            schema = {"title": "T", "description": "what it is", **schema}
        return schema

    def root(self) -> Schema:
        schema = self.object(3) if self.random.random() < 0.6 else self.schema(3)
        if self.random.random() < 0.2:
            definition = self.schema(1)
            schema["$defs"] = {"one": definition}
            schema.setdefault("type", "object")
            if schema["type"] == "object":
                schema.setdefault("properties", {})["ref"] = {"$ref": "#/$defs/one"}
        if self.random.random() < 0.12:
            self.spoil(schema)
        return schema

    def spoil(self, schema: Schema) -> None:
        """Puts something that cannot be enforced somewhere."""
        inner = [part for part in schema.get("properties", {}).values() if isinstance(part, dict)]
        target = self.random.choice([schema, *inner])
        target.update(self.random.choice(_BAD))

    def maybe(self, chance: float = 0.3) -> bool:
        return self.random.random() < chance

    def string(self, _depth: int) -> Schema:
        schema: Schema = {"type": "string"}
        if self.maybe():
            schema["minLength"] = self.random.randrange(4)
            if self.maybe(0.5):
                schema["maxLength"] = self.random.randrange(3, 8)
        elif self.maybe():
            schema["pattern"] = self.random.choice(_PATTERNS)
        elif self.maybe():
            schema["format"] = self.random.choice(_FORMATS)
        return schema

    def integer(self, _depth: int) -> Schema:
        schema: Schema = {"type": "integer"}
        if self.maybe():
            schema["minimum"] = self.random.randrange(-100, 100)
        if self.maybe():
            schema["maximum"] = self.random.randrange(-50, 200)
        if self.maybe(0.15):
            schema["multipleOf"] = self.random.choice([2, 3, 5, 10])
        return schema

    def number(self, _depth: int) -> Schema:
        schema: Schema = {"type": "number"}
        if self.maybe():
            schema[self.random.choice(["minimum", "exclusiveMinimum"])] = -1.5
        if self.maybe():
            schema[self.random.choice(["maximum", "exclusiveMaximum"])] = 99.25
        return schema

    def boolean(self, _depth: int) -> Schema:
        return {"type": "boolean"}

    def null(self, _depth: int) -> Schema:
        return {"type": "null"}

    def values(self, _depth: int) -> Schema:
        values: list[Any] = [*self.random.sample(_TEXTS, 3), 1, 2.5, True, None, {"a": [1]}]
        if self.maybe():
            return {"const": self.random.choice(values)}
        return {"enum": self.random.sample(values, self.random.randrange(1, 5))}

    def object(self, depth: int) -> Schema:
        names = self.random.sample(_WORDS, self.random.randrange(5))
        schema: Schema = {
            "type": "object",
            "properties": {name: self.schema(max(0, depth)) for name in names},
        }
        if names and self.maybe(0.7):
            schema["required"] = self.random.sample(names, self.random.randrange(len(names) + 1))
        if self.maybe(0.5):
            schema["additionalProperties"] = self.random.choice([False, False, {"type": "integer"}])
        if self.maybe(0.08):
            schema["minProperties"] = self.random.randrange(3)
        if self.maybe(0.08):
            schema["maxProperties"] = self.random.randrange(4)
        if self.maybe(0.08):
            schema["patternProperties"] = {"^p_[a-z]+$": {"type": "boolean"}}
        return schema

    def array(self, depth: int) -> Schema:
        schema: Schema = {"type": "array", "items": self.schema(max(0, depth))}
        if self.maybe():
            schema["minItems"] = self.random.randrange(3)
        if self.maybe():
            schema["maxItems"] = self.random.randrange(1, 5)
        if self.maybe(0.15):
            schema["prefixItems"] = [self.schema(0), self.schema(0)]
        return schema

    def any_of(self, depth: int) -> Schema:
        parts = [self.schema(max(0, depth)) for _ in range(self.random.randrange(1, 4))]
        return {"anyOf": parts}

    def one_of(self, _depth: int) -> Schema:
        kinds = self.random.sample(["string", "integer", "boolean", "null"], 2)
        return {"oneOf": [{"type": kind} for kind in kinds]}

    def all_of(self, depth: int) -> Schema:
        return {"allOf": [self.object(max(0, depth - 1)), self.object(max(0, depth - 1))]}


def generated_schemas(count: int, seed: int = 0) -> Iterator[Schema]:
    """So many schemas."""
    for number in range(count):
        yield _Maker(seed * 1_000_003 + number).root()


def generated_tools(count: int, seed: int = 0) -> Iterator[Schema]:
    """So many tools: `name`, `description`, `parameters`, `strict`."""
    for number in range(count):
        maker = _Maker(seed * 1_000_003 + 500_000 + number)
        parameters = maker.object(2)
        if maker.maybe(0.08):
            maker.spoil(parameters)
        yield {
            "name": f"{maker.random.choice(['get', 'set', 'find-it', 'do_2'])}_{number}",
            "description": maker.random.choice(["", "does something", 'says "no"']),
            "parameters": parameters,
            "strict": maker.maybe(0.5),
        }
