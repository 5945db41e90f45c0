"""Every field that the official package documents is honoured, or refused by its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import input_token_count_params
from openai.types.responses.response_create_params import (
    ResponseCreateParamsBase,
    ResponseCreateParamsStreaming,
)

from freehold.chat.tools import ResponseFormat, Tool, ToolChoice
from freehold.errors import BadRequest, BadSchema
from freehold.server.routes.openai.responses_schema import CountBody, CreateBody, PromptBody
from tests.server.openai.responses_service import Service, opened
from tests.server.scripted import MODEL

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL: dict[str, Any] = {"type": "function", "name": "now"}
OTHER: dict[str, Any] = {"type": "function", "name": "later", "parameters": SCHEMA, "strict": True}
HOSTED = ("web_search", "file_search", "mcp", "code_interpreter", "custom", "image_generation")

# (field, value): what the interface defines and we do not do, and values out of range.
REFUSED: list[tuple[str, Any]] = [
    ("access_programs", {"cyber": "standard"}),
    ("background", True),
    ("background", 0),
    ("background_options", {"completion_window": "soonest"}),
    ("context_management", [{"type": "compaction"}]),
    ("conversation", "conv_1"),
    ("conversation", {"id": "conv_1"}),
    ("image", {"context_compression": "auto"}),
    ("include", ["reasoning.encrypted_content"]),
    ("include", ["file_search_call.results"]),
    ("include", "message.output_text.logprobs"),
    ("max_output_tokens", 0),
    ("max_output_tokens", -1),
    ("max_output_tokens", "5"),
    ("max_output_tokens", True),
    ("max_tool_calls", 1),
    ("metadata", {str(n): "" for n in range(17)}),
    ("metadata", {"a": 1}),
    ("model", None),
    ("model", ""),
    ("moderation", {"model": "omni"}),
    ("parallel_tool_calls", "yes"),
    ("prompt", {"id": "pmpt_1"}),
    ("prompt_cache_options", {"mode": "explicit"}),
    ("prompt_cache_retention", "24h"),
    ("service_tier", "flex"),
    ("service_tier", "priority"),
    ("store", "yes"),
    ("stream", 1),
    ("stream_options", {"include_obfuscation": False}),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", "1"),
    ("tool_choice", "required"),
    ("tool_choice", "sometimes"),
    ("tools", [{"type": "function"}] * 129),
    ("tools", "now"),
    ("top_logprobs", 21),
    ("top_logprobs", -1),
    ("top_p", 1.1),
    ("top_p", -0.1),
    ("truncation", "auto"),
    ("user", "x" * 513),
    ("nonsense", 1),
]
# (field inside another, the whole): the error names the inner one.
REFUSED_INSIDE: list[tuple[str, dict[str, Any]]] = [
    ("reasoning.summary", {"reasoning": {"summary": "auto"}}),
    ("reasoning.generate_summary", {"reasoning": {"generate_summary": "auto"}}),
    ("reasoning.context", {"reasoning": {"context": "all_turns"}}),
    ("reasoning.mode", {"reasoning": {"mode": "pro"}}),
    ("reasoning.effort", {"reasoning": {"effort": "enormous"}}),
    ("reasoning.nonsense", {"reasoning": {"nonsense": 1}}),
    ("text.verbosity", {"text": {"verbosity": "high"}}),
    ("text.format.type", {"text": {"format": {"type": "grammar"}}}),
    ("text.format.name", {"text": {"format": {"type": "json_schema", "schema": {}}}}),
    ("text.format.schema", {"text": {"format": {"type": "json_schema", "name": "a"}}}),
    ("text.format.schema", {"text": {"format": {"type": "text", "schema": {}}}}),
    (
        "stream_options.include_obfuscation",
        {"stream": True, "stream_options": {"include_obfuscation": True}},
    ),
    ("tools.0.name", {"tools": [{"type": "function"}]}),
    ("tools.0.name", {"tools": [{"type": "function", "name": "no spaces"}]}),
    ("tools.1.name", {"tools": [TOOL, TOOL]}),
    ("tools.0.strict", {"tools": [{**TOOL, "strict": "yes"}]}),
    ("tools.0.parameters", {"tools": [{**TOOL, "parameters": []}]}),
    ("tools.0.async", {"tools": [{**TOOL, "async": True}]}),
    ("tools.0.defer_loading", {"tools": [{**TOOL, "defer_loading": True}]}),
    ("tools.0.allowed_callers", {"tools": [{**TOOL, "allowed_callers": ["programmatic"]}]}),
    ("tools.0.output_schema", {"tools": [{**TOOL, "output_schema": {}}]}),
    ("tools.0.function", {"tools": [{**TOOL, "function": {"name": "now"}}]}),
    *(("tools.1.type", {"tools": [TOOL, {"type": kind}]}) for kind in HOSTED),
    ("tools.0.type", {"tools": [{}]}),
    ("tool_choice.name", {"tools": [TOOL], "tool_choice": {"type": "function", "name": "x"}}),
    ("tool_choice.type", {"tools": [TOOL], "tool_choice": {"type": "web_search"}}),
    ("tool_choice.type", {"tools": [TOOL], "tool_choice": {}}),
    (
        "tool_choice.tools.0.name",
        {
            "tools": [TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "x"}],
            },
        },
    ),
    (
        "tool_choice.tools.0.type",
        {
            "tools": [TOOL],
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]},
        },
    ),
]
# What the same request without the field means.
NEUTRAL: dict[str, list[Any]] = {
    "access_programs": [None],
    "background": [None, False],
    "background_options": [None],
    "context_management": [None, []],
    "conversation": [None],
    "image": [None],
    "include": [None, []],
    "instructions": [None, ""],
    "max_output_tokens": [None],
    "max_tool_calls": [None],
    "metadata": [None, {}],
    "moderation": [None],
    "parallel_tool_calls": [None, True],
    "previous_response_id": [None],
    "prompt": [None],
    "prompt_cache_key": [None],
    "prompt_cache_options": [None],
    "prompt_cache_retention": [None, "in_memory"],
    "reasoning": [None, {}, {"effort": None, "summary": None, "mode": "standard"}],
    "safety_identifier": [None],
    "service_tier": [None, "auto", "default"],
    "store": [None, True],
    "stream": [None, False],
    "stream_options": [None],
    "temperature": [None, 1, 1.0],
    "text": [None, {}, {"format": {"type": "text"}, "verbosity": "medium"}],
    "tool_choice": [None, "auto"],
    "tools": [None, []],
    "top_logprobs": [None, 0],
    "top_p": [None, 1],
    "truncation": [None, "disabled"],
    "user": [None],
}
# Where a value goes in what the model is asked.
HONOURED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_output_tokens": 9}, {"max_tokens": 9}),
    ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    ({"top_logprobs": 3}, {"logprobs": 3}),
    ({"include": ["message.output_text.logprobs"]}, {"logprobs": 0}),
    ({"reasoning": {"effort": "none"}}, {"thinking": False}),
    ({"reasoning": {"effort": "low"}}, {"thinking": True}),
    (
        {"text": {"format": {"type": "json_object"}}},
        {"response_format": ResponseFormat(kind="json_object")},
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
        {"response_format": ResponseFormat(kind="json_schema", schema=SCHEMA)},
    ),
    (
        {"tools": [TOOL]},
        {"tools": (Tool(name="now", parameters={"type": "object", "properties": {}}),)},
    ),
    (
        {"tools": [{**OTHER, "description": "Soon."}]},
        {"tools": (Tool(name="later", description="Soon.", parameters=SCHEMA, strict=True),)},
    ),
    ({"tools": [TOOL], "tool_choice": "none"}, {"tool_choice": ToolChoice("none")}),
    ({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice": ToolChoice("required")}),
    (
        {"tools": [TOOL, OTHER], "tool_choice": {"type": "function", "name": "now"}},
        {"tool_choice": ToolChoice("named", "now")},
    ),
    (
        {
            "tools": [TOOL, OTHER],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "later"}],
            },
        },
        {
            "tools": (Tool(name="later", parameters=SCHEMA, strict=True),),
            "tool_choice": ToolChoice("required"),
        },
    ),
]
LABELS = ("user", "safety_identifier", "prompt_cache_key")


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    with opened(home) as made:
        yield made


def test_every_documented_field_is_known() -> None:
    documented = {*ResponseCreateParamsBase.__annotations__}
    documented |= {*ResponseCreateParamsStreaming.__annotations__}
    assert {*CreateBody.model_fields, *CreateBody.not_offered} == documented
    counted = {*input_token_count_params.InputTokenCountParams.__annotations__}
    assert {*CountBody.model_fields, *CountBody.not_offered} == counted


def test_every_documented_field_is_tried_here() -> None:
    tried = {*NEUTRAL, *LABELS, "input", "model"}
    assert tried == {*CreateBody.model_fields, *CreateBody.not_offered}
    # What is not offered has a value that is refused.
    assert {*CreateBody.not_offered} <= {name for name, _ in REFUSED}
    assert {*PromptBody.not_offered} <= {*CreateBody.not_offered}


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_refuses_by_name(service: Service, field: str, value: object) -> None:
    error = service.refused({field: value})
    assert error["param"].split(".")[0] == field
    assert field in error["message"]


@pytest.mark.parametrize(("param", "body"), REFUSED_INSIDE)
def test_refuses_the_inner_field_by_name(
    service: Service, param: str, body: dict[str, Any]
) -> None:
    assert service.refused(body)["param"] == param


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["temperature", "top_p"])
def test_refuses_what_is_no_number(service: Service, field: str, value: str) -> None:
    body = f'{{"model": "{MODEL}", "input": "Hi", "{field}": {value}}}'
    headers = {"content-type": "application/json"}
    reply = service.client().post("/v1/responses", content=body, headers=headers)
    assert reply.status_code == 400


@pytest.mark.parametrize("field", sorted(NEUTRAL))
def test_neutral_values_change_nothing(service: Service, field: str) -> None:
    plain = service.create()
    for value in NEUTRAL[field]:
        made = service.create(**{field: value})
        for response in (made, plain):
            for name in ("id", "created_at", "completed_at", "output", field):
                response.pop(name, None)
        assert made == plain
    # A model that recommends nothing is asked the same either way.
    asks = [replace(ask, unsaid=frozenset()) for ask in service.resident.asks]
    assert all(ask == asks[0] for ask in asks)


@pytest.mark.parametrize(("body", "asked"), HONOURED)
def test_honours(service: Service, body: dict[str, Any], asked: dict[str, Any]) -> None:
    made = service.create(**body)
    found = {name: getattr(service.resident.ask, name) for name in asked}
    assert found == asked
    for name in {*body} - {"tools", "include", "text", "reasoning"}:
        assert made[name] == body[name]


def test_honours_sampling_and_draws_as_the_interface_has_it(service: Service) -> None:
    service.create()
    service.create(temperature=0, top_p=0.5)
    service.create(top_p=0)
    plain, given, narrow = (ask.sampling for ask in service.resident.asks)
    assert (plain.temperature, plain.top_p) == (1.0, 1.0)
    assert (given.temperature, given.top_p) == (0.0, 0.5)
    assert 0 < narrow.top_p < 1e-300


@pytest.mark.parametrize("field", LABELS)
def test_repeats_labels(service: Service, field: str) -> None:
    assert service.create(**{field: "somebody"})[field] == "somebody"


def test_repeats_what_the_answer_was_bound_to(service: Service) -> None:
    schema = {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}
    made = service.create(text={"format": schema}, tools=[TOOL, OTHER])
    assert made["text"]["format"] == schema
    assert [tool["strict"] for tool in made["tools"]] == [False, True]
    assert made["tools"][1]["parameters"] == SCHEMA


def test_a_schemas_description_is_told_to_the_model(service: Service) -> None:
    form = {"type": "json_schema", "name": "a", "schema": SCHEMA, "description": "A number."}
    service.create(text={"format": form}, instructions="Be brief.")
    first, *_ = service.resident.ask.messages or ()
    assert first["role"] == "system"
    assert first["content"].startswith("Be brief.")
    assert first["content"].endswith("A number.")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("messages", "input"),
        ("messages.3.content", "input"),
        ("max_tokens", "max_output_tokens"),
        ("response_format.schema", "text.format"),
        ("thinking", "reasoning.effort"),
        ("tools.0.parameters", "tools.0.parameters"),
        (None, None),
    ],
)
def test_names_fields_as_this_interface_does(
    service: Service, theirs: str | None, ours: str | None
) -> None:
    service.resident.refuses = BadRequest("no", param=theirs)
    assert service.refused({})["param"] == ours


def test_a_schema_that_cannot_be_enforced_is_named(service: Service) -> None:
    form = {"type": "json_schema", "name": "a", "schema": SCHEMA}
    for body, param in (({"text": {"format": form}}, "text.format"), ({"tools": [TOOL]}, "tools")):
        service.resident.refuses = BadSchema("no")
        assert service.refused(body)["param"] == param


def test_something_must_be_asked(service: Service) -> None:
    assert service.refused({"input": None})["param"] == "input"


def test_refusals_do_not_repeat_texts(service: Service) -> None:
    secret = "a-secret-word"
    for body in (
        {"prompt": secret},
        {"conversation": secret},
        {"include": [secret]},
        {"tool_choice": secret},
        {"service_tier": secret},
        {"temperature": secret},
        {"text": {"format": {"type": secret}}},
        {"tools": [{"type": secret}]},
        {"input": [{"type": secret}]},
        {"input": [{"role": secret, "content": secret}]},
    ):
        assert secret not in str(service.refused(body))
