"""Every field of a Messages request is honoured in the `Ask`, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.server.routes.anthropic.asks import REFUSED
from freehold.server.routes.anthropic.requests import OtherBlock
from freehold.server.routes.anthropic.signatures import signature_of
from tests.server.anthropic.asking import HELLO, WEATHER, asked, post, refusal
from tests.server.scripted import ScriptedResident

CALL = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bern"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}


def said(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_a_text_is_a_user_message() -> None:
    ask = asked()
    assert ask.messages == ({"role": "user", "content": "Hello"},)
    assert ask.max_tokens == 64
    assert not ask.continue_final_message


def test_the_default_temperature_is_one_not_greedy() -> None:
    assert asked().sampling.temperature == 1.0


def test_sampling_fields_arrive() -> None:
    sampling = asked(temperature=0.25, top_p=0.5, top_k=7).sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.25, 0.5, 7)


def test_stop_sequences_arrive() -> None:
    assert asked(stop_sequences=["END", "\n"]).stop == ("END", "\n")


@pytest.mark.parametrize("system", ["Be brief.", [text("Be brief.")]])
def test_the_system_prompt_comes_first(system: object) -> None:
    assert (asked(system=system).messages or ())[0] == {"role": "system", "content": "Be brief."}


def test_blocks_beside_each_other_stand_on_their_own_lines() -> None:
    ask = asked(messages=[said("user", text("one"), text("two"))])
    assert ask.messages == ({"role": "user", "content": "one\ntwo"},)


def test_neighbouring_messages_of_one_role_are_one_turn() -> None:
    ask = asked(messages=[*HELLO, {"role": "user", "content": "again"}])
    assert ask.messages == ({"role": "user", "content": "Hello\nagain"},)


def test_a_system_message_may_stand_in_the_middle() -> None:
    ask = asked(messages=[*HELLO, {"role": "system", "content": "Now in French."}, *HELLO])
    assert [message["role"] for message in ask.messages or ()] == ["user", "system", "user"]


def test_a_last_assistant_message_is_continued() -> None:
    ask = asked(messages=[*HELLO, {"role": "assistant", "content": "The answer is ("}])
    assert ask.continue_final_message
    assert (ask.messages or ())[-1]["content"] == "The answer is ("


def test_a_tool_call_and_its_result_take_the_form_of_templates() -> None:
    ask = asked(
        messages=[*HELLO, said("assistant", text("Let me look."), CALL), said("user", RESULT)],
        tools=[WEATHER],
    )
    function = {"name": "weather", "arguments": {"city": "Bern"}}
    assert ask.messages == (
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "t1", "name": "weather"},
    )


def test_text_after_results_is_a_message_of_its_own() -> None:
    ask = asked(messages=[*HELLO, said("assistant", CALL), said("user", RESULT, text("And?"))])
    assert [message["role"] for message in ask.messages or ()][-2:] == ["tool", "user"]


def test_a_failed_tool_is_told_to_the_model() -> None:
    failed = {**RESULT, "is_error": True, "content": [text("no such city")]}
    ask = asked(messages=[*HELLO, said("assistant", CALL), said("user", failed)])
    assert (ask.messages or ())[-1]["content"] == "Error: no such city"


def test_thinking_of_earlier_turns_is_passed_on() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": signature_of("Hm.")}
    ask = asked(messages=[*HELLO, said("assistant", thought, text("Hi")), *HELLO])
    assert (ask.messages or ())[1] == {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "Hm.",
    }


def test_thinking_signed_elsewhere_is_not_judged() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCgIYAhIM"}
    ask = asked(messages=[*HELLO, said("assistant", thought, text("Hi")), *HELLO])
    assert (ask.messages or ())[1]["reasoning_content"] == "Hm."


def test_changed_thinking_is_refused() -> None:
    thought = {"type": "thinking", "thinking": "Ha!", "signature": signature_of("Hm.")}
    message = refusal(messages=[*HELLO, said("assistant", thought, text("Hi")), *HELLO])
    assert "messages.1.content.0.signature" in message
    assert "Ha!" not in message


def test_tools_arrive() -> None:
    (tool,) = asked(tools=[{**WEATHER, "strict": True, "type": "custom"}]).tools
    assert (tool.name, tool.description, tool.strict) == ("weather", "The weather of a city.", True)
    assert tool.parameters == WEATHER["input_schema"]


@pytest.mark.parametrize(
    ("choice", "kind", "name", "parallel"),
    [
        (None, "auto", None, True),
        ({"type": "auto"}, "auto", None, True),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", None, False),
        ({"type": "any"}, "required", None, True),
        ({"type": "tool", "name": "weather"}, "named", "weather", True),
        ({"type": "none"}, "none", None, True),
    ],
)
def test_tool_choice_arrives(choice: object, kind: str, name: str | None, parallel: bool) -> None:
    ask = asked(tools=[WEATHER], tool_choice=choice)
    assert (ask.tool_choice.kind, ask.tool_choice.name) == (kind, name)
    assert ask.parallel_tool_calls is parallel


@pytest.mark.parametrize(
    ("thinking", "meaning"),
    [
        (None, None),
        ({"type": "adaptive"}, None),
        ({"type": "disabled"}, False),
        ({"type": "enabled", "budget_tokens": 1024}, True),
    ],
)
def test_thinking_arrives(thinking: object, meaning: bool | None) -> None:
    assert asked(thinking=thinking, max_tokens=2000).thinking is meaning


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    "fields",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
    ],
)
def test_a_schema_of_the_answer_arrives(fields: dict[str, Any]) -> None:
    form = asked(**fields).response_format
    assert form is not None
    assert (form.kind, form.schema) == ("json_schema", SCHEMA)


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"user_id": "u-1"}},
        {"service_tier": "standard_only"},
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"system": [{**text("Be brief."), "cache_control": {"type": "ephemeral"}}]},
        {"tools": [{**WEATHER, "cache_control": {"type": "ephemeral"}, "allowed_callers": []}]},
        {"speed": "standard", "output_config": {"effort": "high"}},
        {"messages": [said("user", {**text("Hello"), "citations": None})]},
        dict.fromkeys(REFUSED),
        {"mcp_servers": [], "container": None},
    ],
)
def test_fields_that_change_nothing_here_are_accepted(fields: dict[str, Any]) -> None:
    (*_, last) = asked(**fields).messages or ()
    assert last == {"role": "user", "content": "Hello"}


@pytest.mark.parametrize("name", REFUSED)
def test_fields_that_are_not_offered_are_refused_by_name(name: str) -> None:
    assert name in refusal(**{name: {"type": "something"}})


UNOFFERED_BLOCKS = OtherBlock.model_json_schema()["properties"]["type"]["enum"]


@pytest.mark.parametrize("kind", UNOFFERED_BLOCKS)
def test_blocks_for_other_models_are_refused_by_name(kind: str) -> None:
    block = {"type": kind, "source": {"type": "base64", "data": "c2VjcmV0"}}
    message = refusal(messages=[said("user", text("Look:"), block)])
    assert f"messages.0.content.1: a block of type '{kind}'" in message
    assert "c2VjcmV0" not in message


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"tools": [{**WEATHER, "input_schema": {}}]}, "tools.0.input_schema.type"),
        ({"tools": [{**WEATHER, "name": "with space"}]}, "tools.0.custom.name"),
        ({"tools": [WEATHER, WEATHER]}, "tools.1.name"),
        ({"tools": [{**WEATHER, "defer_loading": True}]}, "tools.0.defer_loading"),
        ({"tools": [{**WEATHER, "input_examples": [{}]}]}, "tools.0.input_examples"),
        (
            {"tools": [{**WEATHER, "allowed_callers": ["code_execution_20250825"]}]},
            "tools.0.allowed_callers",
        ),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "64"}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences.0"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [said("user", {"type": "poem", "text": "x"})]}, "messages.0.content.0"),
        ({"messages": [said("user", CALL)]}, "messages.0.content.0"),
        ({"messages": [said("assistant", RESULT)]}, "messages.0.content.0"),
        ({"messages": [said("user", RESULT)]}, "messages.0.content.0.tool_use_id"),
        ({"messages": [*HELLO, said("assistant", CALL)]}, "tool_use"),
        ({"messages": [*HELLO, said("assistant", CALL), *HELLO]}, "tool_use"),
        (
            {"messages": [*HELLO, said("assistant", CALL), said("user", text("x"), RESULT)]},
            "messages.2.content.1",
        ),
        ({"messages": [*HELLO, said("assistant", CALL, CALL)]}, "messages.1.content.1.id"),
        (
            {"messages": [*HELLO, said("assistant", {**CALL, "caller": {"type": "x"}})]},
            "messages.1.content.0.caller",
        ),
        (
            {"messages": [*HELLO, said("assistant", {**CALL, "toolset_name": "browser"})]},
            "messages.1.content.0.toolset_name",
        ),
        (
            {"messages": [said("user", {**text("x"), "citations": [{"type": "char_location"}]})]},
            "messages.0.content.0.citations",
        ),
        ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1024},
            "thinking.budget_tokens",
        ),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, "thinking.display"),
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"output_config": {"task_budget": {"total": 1}}}, "output_config.task_budget"),
        ({"speed": "fast"}, "speed"),
        ({"seed": 3}, "seed"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages.0.name"),
        ({"stream": "yes"}, "stream"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"cache_control": {"type": "forever"}}, "cache_control.type"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    assert named in refusal(**fields)


def test_a_model_that_is_not_here_is_not_found() -> None:
    response = post(ScriptedResident(), model="elsewhere")
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"
