"""Gemma 4's calls: values of every kind, what is broken, what schemas allow, and reasoning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.chat.constraints import constraint_for
from freehold.chat.dialects import DIALECTS
from freehold.chat.reasoning import reasoning_of, starts_in_reasoning
from freehold.chat.tools import Tool, ToolChoice
from freehold.errors import BadSchema
from tests.chat.reading import Case, bare, in_gemma
from tests.chat.small_templates import GEMMA
from tests.chat.vocabulary import follows, tokenizer

REASONING = reasoning_of(GEMMA)
NESTED: dict[str, Any] = {
    "city": 'a "b" {c}, d: [e]',
    "box": {"x": {"y": [1, -2.5e3, True, None, "é\n"]}, "empty": {}, "none": []},
}


def schema(**properties: Any) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (in_gemma("get_weather", NESTED), NESTED),
        (
            "<|tool_call>call:get_weather{ days : 3 , wind : true }<tool_call|>",
            {"days": 3, "wind": True},
        ),
        (
            '<|tool_call>call:get_weather{<|"|>city<|"|>:<|"|>Oslo<|"|>}<tool_call|>',
            {"city": "Oslo"},
        ),
        ('<|tool_call>call:get_weather{city:"Oslo"}<tool_call|>', {"city": "Oslo"}),
        ("<|tool_call>call:get_weather{}<tool_call|><|tool_response>", {}),
        ("<|tool_call>call:get_weather{}", {}),
    ],
)
def test_values_are_read_as_json(said: str, expected: Any) -> None:
    read = Case("gemma").read_every_way(said)
    ((name, arguments),) = read.calls
    assert (name, json.loads(arguments), read.text, read.broken) == (
        "get_weather",
        expected,
        "",
        False,
    )


@pytest.mark.parametrize(
    "said", ["{city:Oslo}", "{:1}", "{days:01}", "{days:[1 2]}", '{city:<|"|>x']
)
def test_what_cannot_be_read_is_a_broken_call(said: str) -> None:
    read = Case("gemma").read_every_way(f"<|tool_call>call:get_weather{said}")
    assert read.broken
    assert [name for name, _ in read.calls] == ["get_weather"]


def test_reasoning_stands_in_its_channel() -> None:
    assert REASONING is not None
    assert REASONING.switch == "enable_thinking"
    assert not starts_in_reasoning(
        "<|im_start|>assistant\n<|channel>thought\n<channel|>", REASONING
    )
    said = f"<|channel>thought\nHm,\nyes.\n<channel|>I look.{in_gemma('now', {})}"
    read = Case("gemma", reasoning=REASONING).read_every_way(said)
    assert (read.reasoning, read.text, read.calls) == ("Hm,\nyes.", "I look.", [("now", "{}")])


def grammar(parameters: dict[str, Any], *, markers: bool) -> str:
    made = constraint_for(
        dialect=DIALECTS["gemma"],
        tokenizer=tokenizer(markers=markers),
        tools=[Tool(name="f", parameters=parameters)],
        tool_choice=ToolChoice("required"),
        parallel=False,
    )
    assert made is not None
    return made.grammar


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize(
    ("given", "good", "bad"),
    [
        ({"type": "string", "maxLength": 3}, ["a:]", ""], ["long", 3, None]),
        ({"enum": ["x", "y"]}, ["x"], ["z", 1]),
        ({"type": ["string", "null"]}, ["x", None], [1]),
        ({"type": "integer", "minimum": 2}, [2, 30], [1, "2", None]),
        ({"type": "array", "items": {"type": "string"}}, [[], ["a", "b"]], [[1], "a"]),
        (schema(b={"type": "boolean"}), [{"b": True}], [{}, {"b": 1}, {"c": True}]),
        ({"type": "object"}, [{}, {"x": {"y": ["z", 1]}}], [[], "x"]),
        ({}, ["x", 1, None, [{"y": "z"}]], []),
    ],
    ids=str,
)
def test_arguments_are_held_to_their_schemas(
    markers: bool, given: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    made = grammar(schema(v=given), markers=markers)
    for value in good:
        assert follows(made, in_gemma("f", {"v": value}), markers=markers), bare(value)
    for value in bad:
        assert not follows(made, in_gemma("f", {"v": value}), markers=markers), bare(value)


@pytest.mark.parametrize(
    ("given", "keyword"),
    [
        ({"type": "array", "minItems": 2}, "minItems"),
        ({"type": "object", "minProperties": 1}, "minProperties"),
        ({"type": ["string", "integer"]}, "type"),
    ],
)
def test_what_cannot_be_held_is_refused_by_keyword(given: dict[str, Any], keyword: str) -> None:
    with pytest.raises(BadSchema) as caught:
        grammar(schema(v=given), markers=True)
    assert caught.value.value == keyword
