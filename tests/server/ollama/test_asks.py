"""Every field of /api/chat and /api/generate is honoured in the `Ask`, or refused by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from freehold.server.routes.ollama.options import NEUTRAL
from tests.server.ollama.asking import HELLO, WEATHER, asked, chat, refusal
from tests.server.scripted import MODEL, ScriptedResident

PATHS = ["/api/chat", "/api/generate"]
CALL = {"function": {"name": "weather", "arguments": {"city": "Bern"}}}


def test_a_conversation_arrives() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        *HELLO,
        {"role": "assistant", "content": "Hi", "thinking": "Greet."},
        {"role": "user", "content": "And?"},
    ]
    assert asked(messages=messages).messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi", "reasoning_content": "Greet."},
        {"role": "user", "content": "And?"},
    )


def test_a_prompt_is_a_user_message_after_its_system_message() -> None:
    ask = asked("/api/generate", system="Be brief.")
    assert [message["role"] for message in ask.messages or ()] == ["system", "user"]


def test_a_raw_prompt_is_continued_as_it_is() -> None:
    ask = asked("/api/generate", raw=True)
    assert ask.prompt == "Hello"
    assert ask.messages is None


def test_a_last_assistant_message_is_continued() -> None:
    assert asked(messages=[*HELLO, {"role": "assistant", "content": "("}]).continue_final_message
    assert not asked().continue_final_message


@pytest.mark.parametrize("path", PATHS)
def test_the_defaults_are_those_of_the_interface(path: str) -> None:
    ask = asked(path)
    sampling = ask.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.8, 40, 0.9)
    assert (sampling.min_p, sampling.repetition_penalty, sampling.seed) == (0.0, 1.0, None)
    assert ask.max_tokens is None
    assert ask.logprobs is None
    assert ask.thinking is None


OPTIONS = {
    "temperature": 0.1,
    "top_k": 5,
    "top_p": 0.5,
    "min_p": 0.05,
    "seed": 42,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.25,
}


@pytest.mark.parametrize("path", PATHS)
def test_sampling_options_arrive(path: str) -> None:
    ask = asked(path, options=OPTIONS | {"num_predict": 7, "stop": "END"})
    for name, value in OPTIONS.items():
        assert getattr(ask.sampling, name) == value
    assert (ask.max_tokens, ask.stop) == (7, ("END",))


@pytest.mark.parametrize(
    ("options", "penalty", "window"),
    [
        ({"repeat_penalty": 1.1}, 1.1, 64),
        ({"repeat_penalty": 1.1, "repeat_last_n": 8}, 1.1, 8),
        ({"repeat_penalty": 1.1, "repeat_last_n": -1}, 1.1, 0),
        ({"repeat_penalty": 1.1, "repeat_last_n": 0}, 1.0, 0),
    ],
)
def test_the_repeat_penalty_has_its_window(
    options: dict[str, Any], penalty: float, window: int
) -> None:
    sampling = asked(options=options).sampling
    assert (sampling.repetition_penalty, sampling.repetition_window) == (penalty, window)


@pytest.mark.parametrize(
    "options",
    [
        {"num_predict": -1},
        {"num_predict": -2},
        {"seed": -1},
        {"num_keep": 24, "mirostat_tau": 5.0, "mirostat_eta": 0.1},
        {name: neutral.values[0] for name, neutral in NEUTRAL.items()},
        dict.fromkeys([*NEUTRAL, *OPTIONS]),
        {"num_predict": None, "stop": None, "typical_p": 1.0},
    ],
)
def test_options_that_change_nothing_are_accepted(options: dict[str, Any]) -> None:
    ask = asked(options=options)
    assert ask.sampling == asked().sampling
    assert ask.max_tokens is None


@pytest.mark.parametrize("name", NEUTRAL)
def test_options_that_cannot_be_set_are_refused_by_name(name: str) -> None:
    assert f"options.{name}" in refusal(options={name: 7})


def test_a_switch_is_no_number() -> None:
    assert "options.numa" in refusal(options={"numa": 0})
    assert "options.mirostat" in refusal(options={"mirostat": False})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"options": {"temperature": -1}}, "options.temperature"),
        ({"options": {"repeat_penalty": 0}}, "options.repeat_penalty"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"seed": -5}}, "options.seed"),
        ({"options": {"num_predict": 0}}, "options.num_predict"),
        ({"options": {"num_predict": 1.5}}, "options.num_predict"),
        ({"options": {"repeat_last_n": -2}}, "options.repeat_last_n"),
        ({"options": {"stop": [""]}}, "options.stop"),
        ({"options": {"num_ctx": 4096}}, "options.num_ctx"),
        ({"options": {"num_ctx": 0}}, "options.num_ctx"),
        ({"options": {"num_ctx": 1}}, "options.num_ctx"),
        ({"options": {"num_ctx": 40, "num_predict": 39}}, "options.num_ctx"),
        ({"options": {"max_tokens": 5}}, "options.max_tokens"),
        ({"format": "xml"}, "format"),
        ({"think": "very"}, "think"),
        ({"think": "high"}, "think"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": "5"}, "keep_alive"),
        ({"truncate": True}, "truncate"),
        ({"shift": True}, "shift"),
        ({"_debug_render_only": True}, "debug_render_only"),
        ({"stream": "no"}, "stream"),
        ({"tool_choice": "auto"}, "tool_choice"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    path: str, fields: dict[str, Any], named: str
) -> None:
    assert named in refusal(path, **fields)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"context": [1, 2, 3]}, "context"),
        ({"images": ["aGk="]}, "images"),
        ({"width": 512}, "width"),
        ({"height": 512}, "height"),
        ({"steps": 4}, "steps"),
        ({"raw": True, "system": "Be brief."}, "system"),
        ({"raw": True, "think": True}, "think"),
        ({"messages": HELLO}, "messages"),
    ],
)
def test_what_generate_cannot_honour_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    assert named in refusal("/api/generate", **fields)


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([{"role": "user", "content": "x", "images": ["aGk="]}], "messages.0.images"),
        ([{"role": "critic", "content": "x"}], "messages.0.role"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content"),
        ([{"role": "user", "content": "x", "tool_calls": [CALL]}], "messages.0.tool_calls"),
        ([{"role": "user", "content": "x", "thinking": "y"}], "messages.0.thinking"),
        ([*HELLO, {"role": "tool", "content": "sunny"}], "messages.1"),
        ([*HELLO, {"role": "assistant", "tool_calls": [CALL]}], "1 tool calls have no result"),
        ([*HELLO, {"role": "assistant", "tool_calls": [CALL]}, *HELLO], "messages.2"),
        (
            [
                *HELLO,
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_name": "clock", "content": "noon"},
            ],
            "messages.2",
        ),
        (
            [{"role": "assistant", "tool_calls": [{**CALL, "id": "a"}, {**CALL, "id": "a"}]}],
            "messages.0.tool_calls",
        ),
    ],
)
def test_messages_that_make_no_sense_are_refused_by_place(
    messages: list[dict[str, Any]], named: str
) -> None:
    assert named in refusal(messages=messages)


def test_calls_and_results_find_each_other_by_name_and_order() -> None:
    clock = {"function": {"name": "clock"}}
    ask = asked(
        messages=[
            *HELLO,
            {"role": "assistant", "content": "", "tool_calls": [CALL, clock, CALL]},
            {"role": "tool", "tool_name": "clock", "content": "noon"},
            {"role": "tool", "content": "sunny"},
            {"role": "tool", "tool_name": "weather", "content": "rain"},
        ],
    )
    *_, caller, noon, sunny, rain = ask.messages or ()
    ids = [call["id"] for call in caller["tool_calls"]]
    assert len(set(ids)) == 3
    assert caller["tool_calls"][1]["function"] == {"name": "clock", "arguments": {}}
    assert [turn["tool_call_id"] for turn in (noon, sunny, rain)] == [ids[1], ids[0], ids[2]]
    assert [turn["name"] for turn in (noon, sunny, rain)] == ["clock", "weather", "weather"]


def test_a_result_may_name_the_id_of_its_call() -> None:
    calls = [{**CALL, "id": "a"}, {**CALL, "id": "b"}]
    ask = asked(
        messages=[
            *HELLO,
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "b", "content": "second"},
            {"role": "tool", "content": "first"},
        ],
    )
    assert [turn["tool_call_id"] for turn in (ask.messages or ())[-2:]] == ["b", "a"]


def test_tools_arrive() -> None:
    (tool,) = asked(tools=[WEATHER]).tools
    assert (tool.name, tool.description) == ("weather", "The weather of a city.")
    assert tool.parameters == WEATHER["function"]["parameters"]  # type: ignore[index]


def test_a_tool_without_parameters_takes_none() -> None:
    (tool,) = asked(tools=[{"function": {"name": "clock"}}]).tools
    assert tool.parameters == {"type": "object", "properties": {}}


def test_tools_of_one_name_are_refused() -> None:
    assert "tools.1.function.name" in refusal(tools=[WEATHER, WEATHER])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, None),
        ("", None),
        ("json", "json_object"),
        ({"type": "object", "properties": {}}, "json_schema"),
    ],
)
def test_the_format_arrives(path: str, given: object, kind: str | None) -> None:
    form = asked(path, format=given).response_format
    assert (form.kind if form else None) == kind
    assert form is None or form.schema == (given if isinstance(given, dict) else None)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("think", [None, True, False])
def test_thinking_arrives(path: str, think: bool | None) -> None:
    assert asked(path, think=think).thinking is think


def test_a_level_of_thinking_reaches_a_template_that_knows_it() -> None:
    template = SimpleNamespace(source="{{ reasoning_effort }}")
    resident = ScriptedResident(template=template)
    assert chat(resident, think="low").status_code == 200
    assert resident.ask.thinking is True
    assert resident.ask.template_variables == {"reasoning_effort": "low"}


@pytest.mark.parametrize(
    ("fields", "logprobs"),
    [
        ({"logprobs": False}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 5}, 5),
    ],
)
def test_logprobs_arrive(fields: dict[str, Any], logprobs: int | None) -> None:
    assert asked(**fields).logprobs == logprobs


def test_a_smaller_context_bounds_the_answer() -> None:
    prompt = len(ScriptedResident().encode("user: Hello\n"))
    assert asked(options={"num_ctx": 100}).max_tokens == 100 - prompt
    assert asked(options={"num_ctx": 100.0, "num_predict": 20}).max_tokens == 20


@pytest.mark.parametrize("name", [MODEL, f"{MODEL}:latest"])
def test_the_tag_of_a_name_may_be_left_out(name: str) -> None:
    assert chat(model=name).json()["model"] == name


def test_a_model_that_is_not_here_is_not_found() -> None:
    response = chat(model="elsewhere")
    assert response.status_code == 404
    assert "elsewhere" in response.json()["error"]
