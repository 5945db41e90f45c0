"""A chat's fields become the `Ask` they say, or an error that names them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from freehold.chat.tools import ResponseFormat, Tool, ToolChoice
from freehold.engine.sampler import Sampling
from tests.server.openai.posting import HI, chat_ask, chat_refusal, post
from tests.server.scripted import ScriptedResident

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ARRAY = {"type": "array"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
TIME = {"type": "function", "function": {"name": "time"}}


class Template:
    """Only a source, for what the surface looks up in it."""

    def __init__(self, source: str) -> None:
        self.source = source


def test_defaults_are_openai_s() -> None:
    ask = chat_ask()
    assert ask.sampling == Sampling(temperature=1.0)
    assert (ask.max_tokens, ask.n, ask.logprobs, ask.thinking) == (None, 1, None, None)


def test_sampling_fields_reach_the_engine() -> None:
    ask = chat_ask(
        temperature=0.5,
        top_p=0.9,
        top_k=-1,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=-1,
        frequency_penalty=2,
        seed=7,
        logit_bias={"5": -100, "6": 1.5},
    )
    assert ask.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=-1.0,
        frequency_penalty=2.0,
        seed=7,
        logit_bias=((5, -100.0), (6, 1.5)),
    )


def test_limits_stops_and_choices_reach_the_engine() -> None:
    ask = chat_ask(
        max_completion_tokens=9, stop="a", stop_token_ids=[3], ignore_eos=True, n=2, logprobs=True
    )
    assert (ask.max_tokens, ask.stop, ask.stop_token_ids) == (9, ("a",), (3,))
    assert (ask.ignore_eos, ask.n, ask.logprobs) == (True, 2, 0)
    assert chat_ask(max_tokens=9).max_tokens == 9
    assert chat_ask(stop=["a", "b"]).stop == ("a", "b")
    assert chat_ask(logprobs=True, top_logprobs=20).logprobs == 20
    assert chat_ask(prompt_logprobs=3).prompt_logprobs == 3


def test_seeds_have_a_sign_in_this_interface() -> None:
    assert chat_ask(seed=-1).sampling.seed == 2**64 - 1


def test_the_smallest_nucleus_is_the_likeliest_token() -> None:
    assert 0 < chat_ask(top_p=0).sampling.top_p < 1e-300


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "1"),
        ("temperature", True),
        ("top_p", 1.1),
        ("top_p", -math.inf),
        ("min_p", 2),
        ("top_k", -2),
        ("top_k", 1.5),
        ("repetition_penalty", 0),
        ("presence_penalty", 3),
        ("frequency_penalty", -3),
        ("seed", 1 << 64),
        ("seed", 1.0),
        ("n", 0),
        ("n", 129),
        ("n", 10**30),
        ("n", "1"),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_completion_tokens", 1 << 31),
        ("top_logprobs", 21),
        ("logprobs", 1),
        ("prompt_logprobs", -1),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"999999": 1}),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", [10_000]),
        ("stop", ""),
        ("stop", ["a"] * 17),
        ("stop", 5),
        ("stream", "true"),
        ("user", 5),
        ("metadata", {"a": 1}),
        ("service_tier", "priority"),
        ("reasoning_effort", "extreme"),
        ("parallel_tool_calls", 1),
        ("messages", []),
        ("messages", "hi"),
        ("model", 5),
        ("model", ""),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: object) -> None:
    assert chat_refusal(**{name: value})["param"].split(".")[0] == name


def test_a_bias_outside_the_interface_names_its_token() -> None:
    assert chat_refusal(logit_bias={"5": 101})["param"] == "logit_bias.5"
    assert chat_refusal(logit_bias={"5": math.nan})["param"] == "logit_bias.5"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], param: str) -> None:
    assert chat_refusal(**fields)["param"] == param


def test_an_unknown_model_is_a_404() -> None:
    reply = post("/v1/chat/completions", {"model": "gpt-6", "messages": HI})
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "model_not_found"


def test_tools_and_their_choice_are_carried_over() -> None:
    ask = chat_ask(tools=[TOOL, TIME], parallel_tool_calls=False)
    assert ask.tools == (
        Tool(name="weather", parameters=WEATHER),
        Tool(name="time", parameters={"type": "object", "properties": {}}),
    )
    assert ask.tool_choice == ToolChoice("auto")
    assert not ask.parallel_tool_calls
    assert chat_ask(tools=[TOOL], tool_choice="none").tool_choice.kind == "none"
    assert chat_ask(tools=[TOOL], tool_choice="required").tool_choice.kind == "required"
    named = {"type": "function", "function": {"name": "weather"}}
    ask = chat_ask(tools=[TOOL], tool_choice=named)
    assert ask.tool_choice == ToolChoice("named", "weather")
    # Naming one call asks for one, unless several are asked for too.
    assert not ask.parallel_tool_calls
    assert chat_ask(tools=[TOOL], tool_choice=named, parallel_tool_calls=True).parallel_tool_calls
    assert chat_ask(tools=[]).tools == ()
    assert chat_ask(tool_choice="auto").tool_choice.kind == "auto"


def test_a_strict_tool_stays_strict() -> None:
    function = {"name": "f", "description": "d", "parameters": WEATHER, "strict": True}
    (tool,) = chat_ask(tools=[{"type": "function", "function": function}]).tools
    assert tool == Tool(name="f", description="d", parameters=WEATHER, strict=True)


def test_allowed_tools_leave_the_others_out() -> None:
    only = {"mode": "required", "tools": [{"type": "function", "function": {"name": "time"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": only}
    ask = chat_ask(tools=[TOOL, TIME], tool_choice=choice)
    assert [tool.name for tool in ask.tools] == ["time"]
    assert ask.tool_choice == ToolChoice("required")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [TOOL, TOOL]}, "tools.1.function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": ARRAY}}]},
            "tools.0.function.parameters.type",
        ),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "x"}}},
            "tool_choice.type",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {"type": "function", "function": {"name": "other"}},
            },
            "tool_choice.function.name",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "auto", "function": {"name": "weather"}}},
            "tool_choice",
        ),
    ],
)
def test_bad_tools_are_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert chat_refusal(**fields)["param"] == param


def test_response_formats_are_carried_over() -> None:
    schema = {"type": "object"}
    named = {"name": "x", "schema": schema, "strict": True}
    assert chat_ask(response_format={"type": "text"}).response_format is None
    assert chat_ask(response_format={"type": "json_object"}).response_format == ResponseFormat(
        kind="json_object"
    )
    ask = chat_ask(response_format={"type": "json_schema", "json_schema": named})
    assert ask.response_format == ResponseFormat(kind="json_schema", schema=schema)


def test_a_schema_s_description_is_told_to_the_model() -> None:
    format_ = {"name": "x", "schema": {}, "description": "A person."}
    asked = {"type": "json_schema", "json_schema": format_}
    first = chat_ask(response_format=asked).messages
    assert first is not None
    assert first[0] == {"role": "system", "content": "The answer is JSON: A person."}
    messages = [{"role": "system", "content": "Be brief."}, *HI]
    second = chat_ask(response_format=asked, messages=messages).messages
    assert second is not None
    assert second[0]["content"] == "Be brief.\n\nThe answer is JSON: A person."


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"guided_json": {"a": 1}}, ResponseFormat(kind="json_schema", schema={"a": 1})),
        ({"guided_json": '{"a": 1}'}, ResponseFormat(kind="json_schema", schema={"a": 1})),
        ({"guided_regex": "a+"}, ResponseFormat(kind="regex", source="a+")),
        ({"guided_choice": ["a", "b"]}, ResponseFormat(kind="choice", source=("a", "b"))),
        ({"guided_grammar": "start: X"}, ResponseFormat(kind="lark", source="start: X")),
        (
            {"structured_outputs": {"json": True}},
            ResponseFormat(kind="json_schema", schema=True),
        ),
        ({"structured_outputs": {"json_object": True}}, ResponseFormat(kind="json_object")),
        ({"structured_outputs": {"regex": "a"}}, ResponseFormat(kind="regex", source="a")),
    ],
)
def test_other_servers_forms_are_honoured(fields: dict[str, Any], wanted: ResponseFormat) -> None:
    assert chat_ask(**fields).response_format == wanted


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"guided_json": "not json"}, "guided_json"),
        ({"guided_json": 5}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        (
            {"response_format": {"type": "json_object"}, "guided_regex": "a"},
            "response_format",
        ),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"a": "x"}}, "structured_outputs.a"),
    ],
)
def test_bad_forms_are_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert chat_refusal(**fields)["param"] == param


def test_reasoning_effort_turns_thinking_on_and_off() -> None:
    assert chat_ask(reasoning_effort="none").thinking is False
    for effort in ("minimal", "low", "medium", "high", "xhigh", "max"):
        ask = chat_ask(reasoning_effort=effort)
        assert ask.thinking is True
        assert ask.template_variables == {}


def test_a_template_with_levels_of_reasoning_sees_the_level() -> None:
    resident = ScriptedResident(template=Template("{{ reasoning_effort }}"))
    ask = chat_ask(resident, reasoning_effort="high")
    assert ask.template_variables == {"reasoning_effort": "high"}


def test_template_variables_are_an_allow_list() -> None:
    resident = ScriptedResident(template=Template("{{ strftime_now('%d') }}"))
    ask = chat_ask(
        resident, chat_template_kwargs={"enable_thinking": False, "strftime_now": "2026-01-31"}
    )
    assert (ask.thinking, dict(ask.template_variables)) == (False, {"strftime_now": "2026-01-31"})
    for name in ("messages", "bos_token", "custom_tools", "__class__"):
        error = chat_refusal(resident, chat_template_kwargs={name: "x"})
        assert error["param"] == f"chat_template_kwargs.{name}"


def test_a_variable_that_the_template_does_not_read_is_refused() -> None:
    resident = ScriptedResident(template=Template("{{ messages }}"))
    error = chat_refusal(resident, chat_template_kwargs={"date_string": "today"})
    assert error["param"] == "chat_template_kwargs.date_string"


def test_thinking_cannot_be_both_on_and_off() -> None:
    both = {"enable_thinking": True, "thinking": False}
    assert chat_refusal(chat_template_kwargs=both)["param"] == "chat_template_kwargs.thinking"
    error = chat_refusal(chat_template_kwargs={"thinking": False}, reasoning_effort="low")
    assert error["param"] == "reasoning_effort"
    assert chat_refusal(chat_template_kwargs={"x": [1]})["param"] == "chat_template_kwargs"


def test_the_last_message_can_be_gone_on_with() -> None:
    begun = [*HI, {"role": "assistant", "content": "Well,"}]
    assert chat_ask(messages=begun, continue_final_message=True).continue_final_message
    asked = {"continue_final_message": True, "add_generation_prompt": True}
    assert chat_refusal(messages=begun, **asked)["param"] == "add_generation_prompt"
