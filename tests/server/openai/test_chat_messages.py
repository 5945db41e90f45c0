"""Messages: their roles, parts and order."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.server.ask import Ask
from tests.server.openai.posting import HI, chat_ask, chat_refusal
from tests.server.scripted import ScriptedResident

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
OTHER = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}
ASKED = [*HI, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "42"}


def read(*messages: Any) -> tuple[Any, ...]:
    asked = chat_ask(messages=list(messages)).messages
    assert asked is not None
    return asked


def test_roles_become_those_of_templates() -> None:
    roles = ["system", "developer", "user", "assistant"]
    given = [{"role": role, "content": role} for role in roles]
    assert [message["role"] for message in read(*given)] == [
        "system",
        "system",
        "user",
        "assistant",
    ]


def test_parts_of_text_stand_on_lines_of_their_own() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read({"role": "user", "content": parts}) == ({"role": "user", "content": "a\nb"},)


def test_a_call_and_its_result_are_carried_over() -> None:
    message, result = read(*ASKED, RESULT)[1:]
    function = {"name": "f", "arguments": {"a": 1}}
    assert message == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    # The interface gives a result no name; templates look for one.
    assert result == {"role": "tool", "content": "42", "tool_call_id": "c1", "name": "f"}


def test_results_may_come_in_any_order() -> None:
    called = {"role": "assistant", "tool_calls": [CALL, OTHER]}
    second = {"role": "tool", "tool_call_id": "c2", "content": "no"}
    assert [m.get("name") for m in read(*HI, called, second, RESULT)[2:]] == ["g", "f"]


def test_a_parameterless_call_has_an_empty_mapping() -> None:
    called = {"role": "assistant", "tool_calls": [OTHER]}
    answer = {"role": "tool", "tool_call_id": "c2", "content": ""}
    assert read(*HI, called, answer)[1]["tool_calls"][0]["function"]["arguments"] == {}


def test_no_calls_are_the_same_as_an_empty_list_of_them() -> None:
    plain = {"role": "assistant", "content": "x"}
    assert read(*HI, {**plain, "tool_calls": []}) == read(*HI, plain)


def test_an_answer_of_ours_can_be_sent_back_as_it_is() -> None:
    ours: dict[str, Any] = {
        "role": "assistant",
        "content": "x",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "reasoning_content": "thought",
        "reasoning": "thought",
    }
    expected = {"role": "assistant", "content": "x", "reasoning_content": "thought"}
    assert read(*HI, ours)[1] == expected


def test_either_name_of_reasoning_is_read() -> None:
    for name in ("reasoning", "reasoning_content"):
        message = {"role": "assistant", "content": "x", name: "thought"}
        assert read(*HI, message)[1]["reasoning_content"] == "thought"


def test_a_refusal_is_what_the_assistant_said() -> None:
    assert read(*HI, {"role": "assistant", "refusal": "No."})[1]["content"] == "No."
    part = {"type": "refusal", "refusal": "No."}
    assert read(*HI, {"role": "assistant", "content": [part]})[1]["content"] == "No."


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "image_url", "image_url": {"url": "data:,"}}, "images to a text model"),
        ({"type": "input_audio", "input_audio": {}}, "audio to a text model"),
        ({"type": "file", "file": {"file_id": "x"}}, "files to a text model"),
    ],
)
def test_what_is_not_text_is_refused_by_name(part: dict[str, Any], said: str) -> None:
    error = chat_refusal(messages=[{"role": "user", "content": [part]}])
    assert said in error["message"]
    assert (error["param"], error["code"]) == ("messages.0.content.0", "unsupported_parameter")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user"}, "content"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": []}, "content"),
        ({"role": "user", "content": 5}, "content"),
        ({"role": "user", "content": [{"type": "video"}]}, "content.0.type"),
        ({"role": "user", "content": [{"type": "text"}]}, "content.0"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}, "content.0.type"),
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "image_url": {}}]},
            "content.0",
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
                ],
            },
            "content.0.prompt_cache_breakpoint",
        ),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "tool_calls"),
        ({"role": "user", "content": "x", "tool_call_id": "c1"}, "tool_call_id"),
        ({"role": "system", "content": "x", "refusal": "x"}, "refusal"),
        ({"role": "assistant"}, "content"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "audio"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": ""}}, "function_call"),
        (
            {"role": "assistant", "content": "x", "reasoning": "a", "reasoning_content": "b"},
            "reasoning",
        ),
        ({"role": "function", "name": "f", "content": "x"}, "role"),
        ({"role": "robot", "content": "x"}, "role"),
        ({"content": "x"}, "role"),
        ({"role": "user", "content": "x", "colour": "red"}, "colour"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
    ],
)
def test_a_bad_message_is_refused_by_name(message: dict[str, Any], param: str) -> None:
    assert chat_refusal(messages=[message])["param"] == f"messages.0.{param}"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([*HI, RESULT], "messages.1.tool_call_id"),
        ([*ASKED], "messages.1.tool_calls"),
        ([*ASKED, *HI], "messages.1.tool_calls"),
        ([*ASKED, RESULT, RESULT], "messages.3.tool_call_id"),
        ([*ASKED, {**RESULT, "tool_call_id": "c9"}], "messages.2.tool_call_id"),
        ([*ASKED, {**RESULT, "name": "g"}], "messages.2.name"),
        ([*HI, {"role": "assistant", "tool_calls": [CALL, CALL]}], "messages.1.tool_calls.1.id"),
    ],
)
def test_a_wrong_order_is_refused_by_name(messages: list[Any], param: str) -> None:
    assert chat_refusal(messages=messages)["param"] == param


@pytest.mark.parametrize("arguments", ["{", "[1]", "5", "null", "[" * 100_000])
def test_arguments_in_history_must_be_an_object(arguments: str) -> None:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    error = chat_refusal(messages=[*HI, {"role": "assistant", "tool_calls": [call]}])
    assert error["param"] == "messages.1.tool_calls.0.function.arguments"


def test_a_custom_call_in_history_is_refused() -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "x", "input": "y"}}
    error = chat_refusal(messages=[*HI, {"role": "assistant", "tool_calls": [call]}])
    assert error["param"] == "messages.1.tool_calls.0.custom"


class Naming(ScriptedResident):
    """A resident whose template shows the names of users."""

    def prompt(self, ask: Ask) -> list[int]:
        names = [m.get("name", "") for m in ask.messages or () if m["role"] == "user"]
        return self.encode("".join(names))


def test_names_that_the_template_shows_are_kept() -> None:
    ask = chat_ask(Naming(), messages=[{"role": "user", "name": "Ada", "content": "hi"}])
    assert ask.messages == ({"role": "user", "name": "Ada", "content": "hi"},)


def test_names_that_the_model_would_not_see_are_refused() -> None:
    named = [{"role": "user", "name": "Ada", "content": "hi"}]
    assert chat_refusal(messages=named)["param"] == "messages.0.name"
    robot = [*named, {"role": "assistant", "name": "Bob", "content": "hi"}]
    assert chat_refusal(Naming(), messages=robot)["param"] == "messages.1.name"
