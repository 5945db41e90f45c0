"""What a grammar allows is what was asked for: after reasoning, with calls, in every dialect."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema_rs
import pytest

from freehold.chat.constraints import Constraint, constraint_for
from freehold.chat.dialects import DIALECTS
from freehold.chat.parsing import AnswerParser, CallArguments, CallStart, Text
from freehold.chat.reasoning import ReasoningFormat
from freehold.chat.tools import ResponseFormat, Tool, ToolChoice
from freehold.errors import BadRequest, BadSchema
from tests.chat.reading import THINK, TWO_CALLS, in_hermes, in_xml
from tests.chat.schemas import generated_schemas, generated_tools
from tests.chat.vocabulary import Walker, follows, matchers, spelled, tokenizer

THREE = ResponseFormat(kind="json_schema", schema={"type": "integer", "minimum": 0, "maximum": 3})
CITY = Tool(
    name="city",
    parameters={
        "type": "object",
        "properties": {"name": {"enum": ["Oslo", "Rome"]}},
        "required": ["name"],
        "additionalProperties": False,
    },
    strict=True,
)
FREE = Tool(name="free")
OSLO, ROME = in_hermes("city", {"name": "Oslo"}), in_hermes("city", {"name": "Rome"})
BERN = in_hermes("city", {"name": "Bern"})


def constraint(dialect: str = "plain", **asked: Any) -> Constraint | None:
    return constraint_for(dialect=DIALECTS[dialect], **{"tokenizer": tokenizer(), **asked})


def grammar(dialect: str = "plain", **asked: Any) -> str:
    made = constraint(dialect, **asked)
    assert made is not None
    return made.grammar


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"tools": [FREE]},
        {"tools": [CITY], "tool_choice": ToolChoice("none")},
        {"parallel": False},
        {"reasoning": THINK, "starts_in_reasoning": True},
    ],
)
def test_nothing_is_constrained_that_was_not_asked_for(asked: dict[str, Any]) -> None:
    assert constraint(**asked) is None


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [
        (THREE, ["0", "3"], ["4", "-1", "03", "x", ""]),
        (ResponseFormat(kind="json_object"), ["{}", '{"a":[1, {"b":\nnull}]}'], ["[]", "1", "{"]),
        (ResponseFormat(kind="json_schema", schema=True), ["[]", '"a"', "1.5"], ["", "a"]),
        (ResponseFormat(kind="json_schema", schema=None), ["{}"], ["x"]),
        (ResponseFormat(kind="regex", source=r"a/[0-9]{2}\n?"), ["a/12", "a/12\n"], ["a/1", "12"]),
        (ResponseFormat(kind="choice", source=("yes", 'n"o\n')), ["yes", 'n"o\n'], ["y", "no"]),
        (ResponseFormat(kind="choice", source="only"), ["only"], ["o"]),
        (ResponseFormat(kind="lark", source='start: "x" y\ny: /[ab]+/'), ["xab"], ["x", "ab"]),
    ],
)
def test_every_form_is_enforced(wanted: ResponseFormat, good: list[str], bad: list[str]) -> None:
    for reasoning, inside, before in (
        (None, False, [""]),
        (THINK, False, ["", "<think>\nhm {\n</think>\n\n"]),
        (THINK, True, ["hm\n</think>\n\n", "</think>"]),
    ):
        made = grammar(response_format=wanted, reasoning=reasoning, starts_in_reasoning=inside)
        for start in before:
            assert all(follows(made, start + text) for text in good)
            assert not any(follows(made, start + text) for text in bad)
        assert not follows(made, "<think>" + good[0])
        if inside:
            assert not follows(made, good[0])


def test_marks_of_reasoning_may_be_tokens_of_their_own() -> None:
    brackets = ReasoningFormat("[THINK]", "[/THINK]", anywhere=True)
    made = grammar("mistral_v13", response_format=THREE, reasoning=brackets)
    assert follows(made, "[THINK]so[/THINK]\n2")
    assert not follows(made, "[THINK]so[/THINK]4")
    think = constraint_for(
        dialect=DIALECTS["hermes"],
        tokenizer=tokenizer(think=True),
        response_format=THREE,
        reasoning=THINK,
    )
    assert think is not None
    assert follows(think.grammar, "<think>so</think>2", think=True)
    assert not follows(think.grammar, "<think>so</think>4", think=True)


def test_calls_that_must_be_made_are() -> None:
    tools = [CITY, FREE]
    made = grammar(tools=tools, tool_choice=ToolChoice("required"))
    for good in (OSLO, f"{OSLO}\n{ROME}", in_hermes("free", {"a": [1]})):
        assert follows(made, good)
    for bad in ("", "Hello", BERN, in_hermes("city", {}), in_hermes("other", {}), OSLO + " so"):
        assert not follows(made, bad)
    named = grammar(tools=tools, tool_choice=ToolChoice("named", "city"))
    assert follows(named, ROME)
    assert not follows(named, in_hermes("free", {}))


def test_one_call_means_one() -> None:
    must = grammar(tools=[CITY], tool_choice=ToolChoice("required"), parallel=False)
    may = grammar(tools=[FREE], parallel=False)
    for made, call in ((must, OSLO), (may, in_hermes("free", {}))):
        assert follows(made, call)
        assert not follows(made, f"{call}\n{call}")
    assert follows(may, "no call")


def test_a_strict_tool_may_be_left_alone_but_not_called_wrongly() -> None:
    made = grammar(tools=[CITY, FREE])
    for good in (
        "",
        "I know: Oslo <tool",
        OSLO,
        f"Let me see. {ROME}\n{OSLO}",
        in_hermes("free", {"any": {"thing": None}}),
    ):
        assert follows(made, good)
    for bad in (BERN, f"so {BERN}", in_hermes("other", {}), "<tool_call>no</tool_call>"):
        assert not follows(made, bad)


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_text_beside_strict_tools_hides_no_call(name: str, markers: bool) -> None:
    """Whatever a parser would read as a call, the grammar holds to the schema or forbids."""
    made = constraint(name, tools=[CITY], tokenizer=tokenizer(markers=markers))
    held = {"name": "Oslo"}
    free = {"name": "Bern"}
    forms: list[Any] = [write for dialect, write in TWO_CALLS if dialect == name]
    assert made is not None
    for write in forms:
        for before in ("", "I look: "):
            for arguments, allowed in ((held, True), (free, False)):
                one = ("city", arguments)
                text = before + write(one, one)
                _, calls = parsed(name, [CITY], text)
                assert len(calls) == 2
                if not allowed:
                    assert not follows(made.grammar, text, markers=markers)
    assert follows(made.grammar, "nothing to call here {}[]<", markers=markers)


def test_a_call_that_would_end_reasoning_cannot_hide_in_it() -> None:
    for markers in (True, False):
        made = constraint(
            "qwen_xml",
            tools=[CITY],
            tokenizer=tokenizer(markers=markers),
            reasoning=THINK,
            starts_in_reasoning=True,
        )
        assert made is not None
        hidden = in_xml("city", {"name": "Bern"})
        for text in (f"hm {hidden}", f"hm {hidden}</think>", hidden.removeprefix("<tool_call>\n")):
            assert not follows(made.grammar, text, markers=markers)
        good = f"hm <tool</think>\n\n{in_xml('city', {'name': 'Oslo'})}"
        assert follows(made.grammar, good, markers=markers)


def test_what_is_no_call_has_the_form_that_was_asked_for() -> None:
    made = grammar(tools=[CITY], response_format=THREE, reasoning=THINK)
    for good in ("2", OSLO, "<think>hm</think>\n\n2", f"<think>hm</think>\n\n{OSLO}"):
        assert follows(made, good)
    for bad in ("hello", BERN, f"2{OSLO}", f"see {OSLO}", "<think>hm</think>\n\n4"):
        assert not follows(made, bad)


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize("inside", [True, False])
def test_calls_come_after_reasoning_in_every_dialect(name: str, inside: bool) -> None:
    made = constraint(
        name,
        tools=[CITY],
        tool_choice=ToolChoice("required"),
        parallel=False,
        reasoning=THINK,
        starts_in_reasoning=inside,
    )
    assert made is not None
    matcher = matchers().new(made.grammar)
    text = "hm</think>\n\n" if inside else "<think>hm</think>\n\n"
    for token in spelled(tokenizer(), text):
        matcher.accept(token)
    written = Walker(tokenizer(), random.Random(1), CLOSERS).walk(matcher)
    assert written is not None
    rest, calls = parsed(name, [CITY], written)
    assert rest == ""
    assert {name for name, _ in calls} == {"city"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"response_format": ResponseFormat(kind="regex", source="(")}, "the expression"),
        ({"response_format": ResponseFormat(kind="regex", source="a" * 20_000)}, "too long"),
        ({"response_format": ResponseFormat(kind="lark", source="start: nowhere")}, "the grammar"),
        ({"response_format": ResponseFormat(kind="lark", source="#" * (1 << 19))}, "too long"),
        (
            {"response_format": ResponseFormat(kind="lark", source='start[temperature=1]: "a"')},
            "temperature",
        ),
        ({"response_format": ResponseFormat(kind="choice", source=())}, "choice"),
        ({"response_format": ResponseFormat(kind="choice", source=("a", ""))}, "choice"),
        ({"response_format": ResponseFormat(kind="json_schema", schema={"not": {}})}, "not at #"),
        ({"response_format": ResponseFormat(kind="regex", source="((a{99}){99}){99}")}, "complex"),
    ],
)
def test_a_form_that_cannot_be_enforced_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSchema, match=words):
        constraint(**asked)


def test_a_tool_that_cannot_be_enforced_is_refused_by_its_name() -> None:
    bad = Tool(name="bad", parameters={"type": "object", "properties": {"a": {"not": {}}}})
    assert constraint(tools=[bad]) is None
    strict = Tool(name="bad", parameters=bad.parameters, strict=True)
    for asked in (
        {"tools": [bad], "tool_choice": ToolChoice("required")},
        {"tools": [CITY, strict]},
    ):
        with pytest.raises(BadSchema, match="the tool bad: not at #/properties/a") as refusal:
            constraint(**asked)
        assert refusal.value.param == "tools"
    constraint(tools=[CITY, bad])


def test_a_choice_without_its_tool_is_refused() -> None:
    for choice in (ToolChoice("required"), ToolChoice("named", "x")):
        with pytest.raises(BadRequest, match="not given"):
            constraint(tools=[] if choice.kind == "required" else [CITY], tool_choice=choice)


def test_text_in_a_user_s_grammar_cannot_leave_it() -> None:
    sneaky = "a/\nstart: /b"
    made = grammar(response_format=ResponseFormat(kind="regex", source=sneaky), reasoning=THINK)
    assert not follows(made, "b")


# What ends a value that has no quotes: no chance spells it.
CLOSERS = ["\n</parameter>\n", "</arg_value>\n", "</｜DSML｜parameter>\n"]


def parsed(dialect: str, tools: list[Tool], text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text and the calls of a whole answer, read character by character."""
    parser = AnswerParser(DIALECTS[dialect], tools)
    pieces = [piece for character in text for piece in parser.push(character)] + parser.finish()
    calls: list[tuple[str, str]] = []
    for piece in pieces:
        if isinstance(piece, CallStart):
            calls.append((piece.name, ""))
        elif isinstance(piece, CallArguments):
            calls[-1] = (calls[-1][0], calls[-1][1] + piece.text)
    assert not parser.broken
    return "".join(piece.text for piece in pieces if isinstance(piece, Text)), calls


def value_of(text: str) -> Any:
    """JSON as a value; a number beyond what floats hold as the largest that they do."""
    return json.loads(text, parse_float=lambda said: max(-1e308, min(1e308, float(said))))


def validator(schema: Any) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def made_or_refused(schema: Any, **asked: Any) -> str | None:
    """The grammar, or None after a refusal that names a keyword of the schema and its place."""
    try:
        return grammar(**asked)
    except BadSchema as error:
        refusal = error
    assert str(refusal.value) in json.dumps(schema)
    assert f"{refusal.value} at #" in refusal.message, refusal
    return None


@pytest.mark.parametrize("count", [250, pytest.param(1000, marks=pytest.mark.slow)])
def test_generated_schemas_are_refused_by_keyword_or_enforced(count: int) -> None:
    accepted, whole = 0, 0
    for number, schema in enumerate(generated_schemas(count)):
        wanted = ResponseFormat(kind="json_schema", schema=schema)
        made = made_or_refused(schema, response_format=wanted)
        if made is None:
            continue
        accepted += 1
        written = Walker(tokenizer(), random.Random(number)).walk(matchers().new(made))
        if written is not None:
            whole += 1
            assert validator(schema).is_valid(value_of(written)), (schema, written)
    assert accepted > 0.7 * count
    assert whole > 0.95 * accepted


def check_tools(name: str, tools: list[Tool], *, markers: bool) -> None:
    """Every tool is refused by keyword, or called as its schema says."""
    tokens = tokenizer(markers=markers)
    accepted, whole = 0, 0
    for number, tool in enumerate(tools):
        made = made_or_refused(
            dict(tool.parameters),
            dialect=name,
            tokenizer=tokens,
            tools=[tool],
            tool_choice=ToolChoice("required"),
            parallel=number % 2 == 0,
        )
        if made is None:
            continue
        accepted += 1
        matcher = matchers(markers=markers).new(made)
        written = Walker(tokens, random.Random(number), CLOSERS, cap=700).walk(matcher)
        if written is None:
            continue
        rest, calls = parsed(name, [tool], written)
        assert rest == ""
        whole += 1
        for _, arguments in calls:
            assert validator(dict(tool.parameters)).is_valid(value_of(arguments)), written
    assert accepted >= len(tools) // 3
    assert whole > 0.6 * accepted


EACH_DIALECT = pytest.mark.parametrize("name", sorted(DIALECTS))
AS_TOKENS_OR_TEXT = pytest.mark.parametrize("markers", [True, False], ids=["tokens", "text"])


@AS_TOKENS_OR_TEXT
@EACH_DIALECT
def test_generated_tools_are_refused_by_keyword_or_enforced(name: str, markers: bool) -> None:
    """Together the dialects see all 300, half of them in each writing."""
    tools = [Tool(**tool) for tool in generated_tools(300)]
    mine = tools[sorted(DIALECTS).index(name) :: len(DIALECTS)]
    check_tools(name, mine[markers::2], markers=markers)


@pytest.mark.slow
@AS_TOKENS_OR_TEXT
@EACH_DIALECT
def test_every_dialect_enforces_all_generated_tools(name: str, markers: bool) -> None:
    check_tools(name, [Tool(**tool) for tool in generated_tools(300)], markers=markers)
