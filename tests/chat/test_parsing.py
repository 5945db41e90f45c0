"""An answer is taken apart the same way however its text was cut."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.chat.dialects import DIALECTS
from freehold.chat.parsing import AnswerParser, CallArguments, CallStart
from tests.chat.reading import (
    BRACKETS,
    THINK,
    TOOLS,
    Case,
    in_hermes,
    in_kimi,
    in_v31,
    in_xml,
    section,
)


def test_arguments_come_in_pieces_as_they_are_written() -> None:
    parser = AnswerParser(DIALECTS["hermes"], TOOLS)
    parser.push('<tool_call>\n{"name": "get_weather", "arguments": ')
    parts = ['{"city": "Os', 'lo", "days"', ": 3}"]
    said = [parser.push(part) for part in parts]
    assert isinstance(said[0][0], CallStart)
    assert said[0][1:] == [CallArguments(0, '{"city": "Os')]
    assert said[1] == [CallArguments(0, 'lo", "days"')]
    assert "".join(p.text for p in said[2] if isinstance(p, CallArguments)) == ": 3}"


def test_strings_between_tags_come_in_pieces_too() -> None:
    parser = AnswerParser(DIALECTS["qwen_xml"], TOOLS)
    parser.push("<tool_call>\n<function=get_weather>\n<parameter=city>\nOs")
    assert parser.push('lo "x') == [CallArguments(0, 'lo \\"x')]


def test_text_between_and_after_calls_is_kept() -> None:
    text = f"one {in_hermes('now', {})} two\n{in_hermes('now', {})}\nthree"
    read = Case().read_every_way(text)
    assert (read.text, read.order) == ("onetwothree", "tcatcat")


def test_text_alone_is_given_to_the_last_blank() -> None:
    for text in ("hello \n\n", "  a < b and <tool", "", "{", "<tool_call", '{"name": "x"}', " "):
        for dialect in DIALECTS:
            assert Case(dialect).read_every_way(text).text == text


@pytest.mark.parametrize(
    ("text", "inside", "reasoning", "answer"),
    [
        ("<think>\na\n</think>\n\nb", False, "a", "b"),
        ("a\n</think>b ", True, "a", "b "),
        ("\n<think>\n\n</think>\n\nb", False, "", "b"),
        ("<think></think>\n\nb", False, "", "b"),
        ("never ends \n", True, "never ends", ""),
        ("b <think>c</think>", False, "", "b <think>c</think>"),
        ("<thin b", False, "", "<thin b"),
        ("  b", False, "", "  b"),
        ("a < b </thin</think>", True, "a < b </thin", ""),
        ("", True, "", ""),
    ],
)
def test_reasoning_is_told_from_the_answer(
    text: str, inside: bool, reasoning: str, answer: str
) -> None:
    read = Case(reasoning=THINK, inside=inside).read_every_way(text)
    assert (read.reasoning, read.text) == (reasoning, answer)


def test_blocks_of_reasoning_whose_marks_are_tokens_may_come_anywhere() -> None:
    case = Case("mistral_v13", reasoning=BRACKETS)
    read = case.read_every_way("[THINK]a[/THINK]b [THINK]c[/THINK]d[TOOL_CALLS]now[ARGS]{}")
    assert (read.reasoning, read.text, read.order) == ("ac", "bd", "rtrtca")


@pytest.mark.parametrize(
    ("dialect", "ends"), [("qwen_xml", True), ("deepseek_v31", True), ("hermes", False)]
)
def test_a_call_inside_reasoning_ends_it_where_models_do_that(dialect: str, ends: bool) -> None:
    calls = {
        "qwen_xml": in_xml("now", {}),
        "deepseek_v31": section(in_v31("now", {})),
        "hermes": in_hermes("now", {}),
    }
    read = Case(dialect, reasoning=THINK, inside=True).read_every_way("hm " + calls[dialect])
    assert len(read.calls) == ends
    assert read.reasoning.startswith("hm")


def test_text_about_a_call_inside_reasoning_is_reasoning() -> None:
    case = Case("qwen_xml", reasoning=THINK, inside=True)
    read = case.read_every_way("use <tool_call> or <function=x>?</think>yes")
    assert (read.reasoning, read.text) == ("use <tool_call> or <function=x>?", "yes")


def test_the_parser_says_whether_it_is_in_reasoning() -> None:
    parser = AnswerParser(DIALECTS["plain"], reasoning=THINK)
    seen = []
    for text in ("<think>", "a", "</think>", "b"):
        parser.push(text)
        seen.append(parser.in_reasoning)
    assert seen == [True, True, False, False]


def test_ids_have_the_dialects_form() -> None:
    def first_id(dialect: str, text: str) -> str:
        starts = AnswerParser(DIALECTS[dialect], TOOLS).push(text)
        return next(p.id for p in starts if isinstance(p, CallStart))

    own = first_id("mistral_v13", "[TOOL_CALLS]now[ARGS]{}")
    assert len(own) == 9
    assert own.isalnum()
    usual = first_id("hermes", in_hermes("now", {}))
    assert usual.startswith("call_")
    assert len(usual) == 29
    assert usual != first_id("hermes", in_hermes("now", {}))
    assert (
        first_id("kimi", f"<|tool_calls_section_begin|>{in_kimi('now', {})}") == "functions.now:0"
    )


PARTS = [
    "<tool_call>",
    "</tool_call>",
    '{"name": "now", "arguments": {',
    '"a": ',
    '"x"',
    "}}",
    "<function=now>",
    "<parameter=a>",
    "</parameter>",
    "</function>",
    "[TOOL_CALLS]",
    "now[ARGS]",
    "{}",
    "[now(",
    "a='b'",
    ")]",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>now<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    '<｜DSML｜function_calls>\n<｜DSML｜invoke name="now">',
    '<｜DSML｜parameter name="a" string="true">',
    "</｜DSML｜parameter>",
    "<think>",
    "</think>",
    "\n",
    " ",
    "é",
    "\\",
    '"',
    ",",
]


@pytest.mark.parametrize(
    ("dialect", "text", "said", "rest"),
    [
        ("qwen_xml", "<function=now>,<function=now></function>", "{", ",<function=now></function>"),
        ("llama_pythonic", "[now([now()]", "{", "[now()]"),
        (
            "harmony",
            "<|channel|>commentary to=functions.now<|message|>{,<|call|>"
            "<|channel|>commentary to=functions.now<|message|>{}<|call|>",
            "{",
            ",<|call|><|channel|>commentary to=functions.now<|message|>{}<|call|>",
        ),
    ],
)
def test_after_a_broken_call_nothing_is_a_call(
    dialect: str, text: str, said: str, rest: str
) -> None:
    """Else nobody could tell which of them is whole."""
    read = Case(dialect).read_every_way(text)
    assert (read.calls, read.broken, read.text) == ([("now", said)], True, rest)


@given(
    st.sampled_from(sorted(DIALECTS)),
    st.lists(st.sampled_from(PARTS), max_size=12),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_any_text_is_read_the_same_however_it_is_cut(
    dialect: str, parts: list[str], reasons: bool, inside: bool, calls: bool, data: st.DataObject
) -> None:
    text = "".join(parts)
    case = Case(dialect, reasoning=THINK if reasons else None, inside=inside, tool_calls=calls)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    edges = [0, *cuts, len(text)]
    whole = case.read([text])
    assert case.read(text[a:b] for a, b in pairwise(edges)) == whole
    for _, said in whole.calls[: len(whole.calls) - whole.broken]:
        assert isinstance(json.loads(said), dict)
