"""Calls are read in every form of every dialect, wherever the text is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.chat.dialects import DIALECTS
from freehold.chat.tools import Tool
from tests.chat.reading import (
    EACH_FORM,
    HARD,
    THINK,
    TOOLS,
    TWO_CALLS,
    WEATHER,
    Case,
    Read,
    in_glm,
    in_xml,
)


def test_every_dialect_has_a_form_here() -> None:
    assert {name for name, _ in TWO_CALLS} == set(DIALECTS)


@EACH_FORM
@pytest.mark.parametrize("text", ["", "I look it up. \n\n"])
def test_reads_two_calls_after_text(dialect: str, write: Any, text: str) -> None:
    read = Case(dialect).read_every_way(text + write(("get_weather", WEATHER), ("now", {})))
    assert [(name, json.loads(said)) for name, said in read.calls] == [
        ("get_weather", WEATHER),
        ("now", {}),
    ]
    assert read.calls[1][1] == "{}"
    assert (read.text, read.broken) == (text.strip(), False)


@EACH_FORM
def test_marks_braces_and_quotes_inside_strings_are_only_text(dialect: str, write: Any) -> None:
    hard = dict(HARD)
    read = Case(dialect).read_every_way(write(("now", {}), ("get_weather", hard)))
    assert json.loads(read.calls[1][1]) == hard
    assert read.text == ""


@EACH_FORM
def test_a_call_of_an_unknown_tool_stays_text(dialect: str, write: Any) -> None:
    case = Case(dialect, tools=[Tool(name="other")])
    text = "See: " + write(("get_weather", WEATHER), ("now", {})) + " so."
    read = case.read_every_way(text)
    assert (read.text, read.calls) == (text, [])


@EACH_FORM
def test_a_known_call_before_an_unknown_one_is_kept_and_the_other_is_text(
    dialect: str, write: Any
) -> None:
    read = Case(dialect, tools=TOOLS[:1]).read_every_way(
        write(("get_weather", WEATHER), ("now", {}))
    )
    assert [name for name, _ in read.calls] == ["get_weather"]
    assert json.loads(read.calls[0][1]) == WEATHER
    assert "now" in read.text


@EACH_FORM
def test_an_answer_that_breaks_off_never_claims_a_whole_call(dialect: str, write: Any) -> None:
    text = write(("now", {}), ("get_weather", {"city": "Oslo is a city", "days": 12}))
    for end in range(len(text)):
        read = Case(dialect).read([text[:end]])
        for index, (name, said) in enumerate(read.calls):
            if index < len(read.calls) - read.broken:
                assert json.loads(said) == ({} if name == "now" else json.loads(said))
        if len(read.calls) == 2 and not read.broken:
            assert json.loads(read.calls[1][1]) == {"city": "Oslo is a city", "days": 12}
        if not read.calls:
            assert read.text.strip() == text[:end].strip()


@EACH_FORM
def test_calls_are_not_looked_for_when_none_may_be_made(dialect: str, write: Any) -> None:
    text = write(("get_weather", WEATHER), ("now", {}))
    assert Case(dialect, tool_calls=False).read_every_way(text).text == text
    assert Case(dialect, tools=()).read([text]).text == text


@EACH_FORM
def test_reasoning_comes_before_calls(dialect: str, write: Any) -> None:
    case = Case(dialect, reasoning=THINK, inside=True)
    read = case.read_every_way("hm,\nlet me\n</think>\n\n" + write(("now", {}), ("now", {})))
    assert (read.reasoning, read.text, len(read.calls)) == ("hm,\nlet me", "", 2)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('{"arguments": {"city": "x"}, "name": "get_weather"}', '{"city": "x"}'),
        ('{"name": "get_weather", "arguments": "{\\"city\\": \\"x\\"}"}', '{"city": "x"}'),
        ('{"id": "1", "type": "function", "name": "get_weather", "arguments": null}', "{}"),
        ('{"name": "get_weather"}', "{}"),
        ('{"name":"get_weather","arguments":{"city":"a\nb\tc"}}', '{"city":"a\\nb\\tc"}'),
        ('{"name": "get_weather", "arguments": {"city": "x"}', '{"city": "x"}'),
    ],
)
def test_common_slips_in_json_are_understood(said: str, expected: str) -> None:
    read = Case().read_every_way(f"<tool_call>{said}</tool_call>")
    assert (read.calls, read.broken, read.text) == ([("get_weather", expected)], False, "")


@pytest.mark.parametrize(
    "said",
    [
        '{"name": "get_weather", "arguments": [1]}',
        '{"name": "get_weather", "arguments": "no JSON"}',
        '{"name": 3, "arguments": {}}',
        '{"arguments": {}}',
        '{"other": 1}',
        "{}",
        "now",
    ],
)
def test_what_is_no_call_is_given_back_as_it_was(said: str) -> None:
    text = f"<tool_call>\n{said}\n</tool_call>"
    assert Case().read_every_way(text) == Read(text=text, order="t")


@pytest.mark.parametrize("bad", ["tru", "01", "nan", "'x'", "[1,]", "{1:2}", '"\\q"', "1.e3"])
def test_arguments_that_are_no_json_are_a_broken_call(bad: str) -> None:
    text = f'<tool_call>{{"name": "now", "arguments": {{"a": {bad}}}}}</tool_call>'
    read = Case().read_every_way(text)
    assert read.broken
    (_, said), *others = read.calls
    assert not others
    with pytest.raises(json.JSONDecodeError):
        json.loads(said)
    assert said + read.text == text[text.index('{"a"') :]


@pytest.mark.parametrize(
    ("key", "said", "expected"),
    [
        ("city", "12", "12"),
        ("city", " two\nlines \n", " two\nlines \n"),
        ("city", "", ""),
        ("days", "12", 12),
        ("days", " 12.0 ", 12),
        ("days", "many", "many"),
        ("days", "1e999", "1e999"),
        ("wind", "true", True),
        ("wind", "False", False),
        ("limit", "1.5", 1.5),
        ("limit", "3", 3),
        ("tags", '["a", "b"]', ["a", "b"]),
        ("tags", "['a', None]", ["a", None]),
        ("box", '{"x": {"y": 1}}', {"x": {"y": 1}}),
        ("unit", "null", None),
        ("unit", "None", None),
        ("unit", "7", "7"),
        ("unknown", "7", 7),
        ("unknown", "seven", "seven"),
    ],
)
@pytest.mark.parametrize(("dialect", "write"), [("qwen_xml", in_xml), ("glm", in_glm)])
def test_values_between_tags_are_read_by_their_schema(
    dialect: str, write: Any, key: str, said: str, expected: Any
) -> None:
    text = write("get_weather", {key: said})
    read = Case(dialect).read_every_way(text)
    (call,) = read.calls
    assert json.loads(call[1]) == {key: expected}


@pytest.mark.parametrize(
    ("attribute", "said", "expected"),
    [
        (' string="true"', "7", "7"),
        (' string="false"', "7", 7),
        (' string="false"', '"7"', "7"),
        (' string="false"', "no json", "no json"),
        ("", "7", 7),
    ],
)
def test_a_tag_may_say_what_is_a_string(attribute: str, said: str, expected: Any) -> None:
    text = (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
        f'<｜DSML｜parameter name="days"{attribute}>{said}</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>"
    )
    ((_, arguments),) = Case("deepseek_dsml").read_every_way(text).calls
    assert json.loads(arguments) == {"days": expected}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("city='it\\'s \\n \\u00e9 \\x41'", {"city": "it's \n é A"}),
        ('city="a\'b", days=-3', {"city": "a'b", "days": -3}),
        (
            "tags=['a', (1, 2.5), {'k': None, \"l\": True}]",
            {"tags": ["a", [1, 2.5], {"k": None, "l": True}]},
        ),
        ("wind=true, box={}, tags=[]", {"wind": True, "box": {}, "tags": []}),
        ("limit=.5, days=1_000,", {"limit": 0.5, "days": 1000}),
    ],
)
def test_literals_of_python_become_json(said: str, expected: Any) -> None:
    ((_, arguments),) = Case("llama_pythonic").read_every_way(f"[get_weather({said})]").calls
    assert json.loads(arguments) == expected


@pytest.mark.parametrize("said", ["city=x", "city='x", "days=1-2", "city=f()", "'x'", "city"])
def test_python_that_is_no_literal_is_a_broken_call(said: str) -> None:
    assert Case("llama_pythonic").read_every_way(f"[get_weather({said})]").broken


def test_a_forgotten_outer_tag_is_understood() -> None:
    text = (
        in_xml("get_weather", WEATHER).removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    )
    ((_, arguments),) = Case("qwen_xml").read_every_way(text).calls
    assert json.loads(arguments) == WEATHER
