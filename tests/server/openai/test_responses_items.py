"""Items become the messages that templates expect; what cannot be one is refused by its place."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import response_input_item_param
from openai.types.responses.response_input_item_param import ResponseInputItemParam

from freehold.errors import BadRequest, RequestError, UnsupportedField
from freehold.server.routes.openai.responses_convert import messages_of
from freehold.server.routes.openai.responses_items import (
    ItemIds,
    Reference,
    is_response_id,
    new_response_id,
    parse_items,
    response_of_item,
)
from tests.server.openai.responses_service import Service, opened
from tests.server.scripted import MODEL

CALL = {"type": "function_call", "call_id": "c1", "name": "now", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "Noon."}
SECOND = {**CALL, "call_id": "c2", "name": "later", "arguments": '{"n": 1}'}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm."}],
}
SAID = {
    "type": "message",
    "role": "assistant",
    "id": "msg_1",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Well.", "annotations": [], "logprobs": []}],
}
USER = {"role": "user", "content": "Hi"}
IMAGE = {"type": "input_image", "image_url": "data:,", "detail": "auto"}

OFFERED = {"message", "function_call", "function_call_output", "reasoning", "item_reference"}

# (place that the error names, item)
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("input.0.id", {}),
    ("input.0.type", {"type": 1}),
    ("input.0.type", {"type": "nonsense"}),
    ("input.0.role", {"role": "tool", "content": "Hi"}),
    ("input.0.content", {"role": "user"}),
    ("input.0.content", {"role": "user", "content": 5}),
    ("input.0.content.0", {"role": "user", "content": ["Hi"]}),
    ("input.0.content.0.type", {"role": "user", "content": [IMAGE]}),
    ("input.0.content.0.type", {"role": "user", "content": [{"type": "input_file"}]}),
    ("input.0.content.0.type", {"role": "user", "content": [{"type": "input_audio"}]}),
    ("input.0.content.0.type", {"role": "user", "content": [{"type": "output_text", "text": ""}]}),
    ("input.0.content.0.text", {"role": "user", "content": [{"type": "input_text"}]}),
    (
        "input.0.content.0.prompt_cache_breakpoint",
        {
            "role": "user",
            "content": [
                {
                    "type": "input_text",
                    "text": "",
                    "prompt_cache_breakpoint": {"mode": "explicit"},
                }
            ],
        },
    ),
    ("input.0.nonsense", {**USER, "nonsense": 1}),
    ("input.0.phase", {**SAID, "phase": "commentary"}),
    ("input.0.status", {**SAID, "status": "lost"}),
    ("input.0.arguments", {**CALL, "arguments": {}}),
    ("input.0.call_id", {**CALL, "call_id": ""}),
    ("input.0.namespace", {**CALL, "namespace": "clock"}),
    ("input.0.caller", {**CALL, "caller": {"type": "program", "caller_id": "p"}}),
    ("input.0.async", {**CALL, "async": True}),
    ("input.0.call_id", {**OUTPUT, "call_id": None}),
    ("input.0.output", {**OUTPUT, "output": {}}),
    ("input.0.output.0.type", {**OUTPUT, "output": [IMAGE]}),
    ("input.0.namespace", {**OUTPUT, "namespace": "clock"}),
    ("input.0.summary", {**THOUGHT, "summary": [{"type": "summary_text", "text": "Hm."}]}),
    ("input.0.encrypted_content", {**THOUGHT, "encrypted_content": "gA=="}),
    ("input.0.content.0.type", {**THOUGHT, "content": [{"type": "output_text", "text": ""}]}),
]
# Conversations that no template could show.
DISORDERED: list[list[dict[str, Any]]] = [
    [OUTPUT],
    [CALL],
    [CALL, USER],
    [CALL, OUTPUT, OUTPUT],
    [CALL, CALL, OUTPUT],
    [CALL, SECOND, OUTPUT, USER],
    [CALL, {**OUTPUT, "name": "later"}],
    [{**CALL, "arguments": "[]"}, OUTPUT],
    [{**CALL, "arguments": "{"}, OUTPUT],
    [{**CALL, "arguments": "[" * 100_000}, OUTPUT],
]


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    with opened(home) as made:
        yield made


def messages(*items: dict[str, Any]) -> list[dict[str, Any]]:
    parsed = parse_items(items)
    return list(messages_of([item for item in parsed if not isinstance(item, Reference)]))


def call(call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def test_every_documented_type_of_item_is_taken_or_refused_by_name() -> None:
    documented = set()
    for form in typing.get_args(ResponseInputItemParam):
        hints = typing.get_type_hints(form, vars(response_input_item_param))
        hint = str(hints.get("type", ""))
        documented |= set(hint.split("'")[1::2])
    assert documented > OFFERED
    for kind in documented - OFFERED:
        with pytest.raises(UnsupportedField) as caught:
            parse_items([{"type": kind}])
        assert kind in str(caught.value)


@pytest.mark.parametrize(("place", "item"), REFUSED)
def test_refuses_by_place(place: str, item: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        parse_items([item])
    assert caught.value.param == place


@pytest.mark.parametrize("items", DISORDERED)
def test_refuses_what_is_out_of_order(items: list[dict[str, Any]]) -> None:
    with pytest.raises(BadRequest) as caught:
        messages(*items)
    assert caught.value.param == "input"


def test_a_whole_turn_of_the_assistant_is_one_message() -> None:
    output = {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "Late."}]}
    assert messages(USER, THOUGHT, SAID, CALL, SECOND, OUTPUT, output, USER) == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "Well.",
            "reasoning_content": "Hm.",
            "tool_calls": [call("c1", "now", {}), call("c2", "later", {"n": 1})],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "now", "content": "Noon."},
        {"role": "tool", "tool_call_id": "c2", "name": "later", "content": "Late."},
        {"role": "user", "content": "Hi"},
    ]


def test_what_the_assistant_says_beside_its_calls_stays_with_them() -> None:
    (first, *_) = messages(CALL, SAID, SECOND, OUTPUT, {**OUTPUT, "call_id": "c2"})
    assert first["content"] == "Well."
    assert len(first["tool_calls"]) == 2


def test_outputs_may_come_in_another_order_than_their_calls() -> None:
    *_, late, noon = messages(CALL, SECOND, {**OUTPUT, "call_id": "c2"}, OUTPUT)
    assert (late["name"], noon["name"]) == ("later", "now")


def test_two_answers_in_a_row_stay_two() -> None:
    assert [m["content"] for m in messages(SAID, SAID)] == ["Well.", "Well."]


def test_a_new_turn_begins_with_its_reasoning() -> None:
    first, second = messages(SAID, THOUGHT, SAID)
    assert "reasoning_content" not in first
    assert second["reasoning_content"] == "Hm."


def test_an_id_of_a_call_may_come_back_in_a_later_turn() -> None:
    assert len(messages(CALL, OUTPUT, CALL, OUTPUT)) == 4


def test_a_call_without_arguments_has_none() -> None:
    first, _ = messages({**CALL, "arguments": " "}, OUTPUT)
    assert first["tool_calls"] == [call("c1", "now", {})]


def test_a_developer_is_the_system_to_every_template() -> None:
    roles = [m["role"] for m in messages({**USER, "role": "developer"}, USER)]
    assert roles == ["system", "user"]


def test_parts_stand_on_lines_of_their_own() -> None:
    parts = [{"type": "input_text", "text": "One"}, {"type": "input_text", "text": "Two"}]
    refusal = [{"type": "refusal", "refusal": "No."}]
    user, assistant = messages(
        {"role": "user", "content": parts}, {"role": "assistant", "content": refusal}
    )
    assert (user["content"], assistant["content"]) == ("One\nTwo", "No.")


def test_an_answers_own_items_can_be_sent_back(service: Service) -> None:
    made = service.create(store=False)
    service.create(input=[USER, *made["output"], USER], store=False)
    roles = [m["role"] for m in service.resident.asks[-1].messages or ()]
    assert roles == ["user", "assistant", "user"]


def test_input_is_shown_in_one_form(service: Service) -> None:
    made = service.create(input=[USER, SAID, CALL, OUTPUT, THOUGHT])
    place = f"/v1/responses/{made['id']}/input_items"
    shown = service.client().get(place, params={"order": "asc"}).json()["data"]
    token = made["id"].removeprefix("resp_")
    prefixes = ("msg", "msg", "fc", "fco", "rs")
    assert [item.pop("id") for item in shown] == [
        f"{prefix}_{token}i{number}" for number, prefix in enumerate(prefixes)
    ]
    content = [{"type": "input_text", "text": "Hi"}]
    assert shown == [
        {"type": "message", "role": "user", "status": "completed", "content": content},
        {name: value for name, value in SAID.items() if name != "id"},
        {**CALL, "status": "completed"},
        {**OUTPUT, "status": "completed"},
        {**{k: v for k, v in THOUGHT.items() if k != "id"}, "status": "completed"},
    ]


@pytest.mark.parametrize("given", [5, {}, True, [1], ["Hi"], [[]], [None]])
def test_input_is_a_text_or_items(service: Service, given: object) -> None:
    error = service.refused({"input": given})
    assert error["param"].split(".")[0] == "input"


def test_an_items_id_leads_to_its_response() -> None:
    response_id = new_response_id()
    assert is_response_id(response_id)
    for side in ("i", "o"):
        ids = ItemIds(response_id, side)
        for kind in ("message", "function_call", "function_call_output", "reasoning", "message"):
            assert response_of_item(ids.new(kind)) == response_id


@pytest.mark.parametrize("odd", ["", "msg", "msg_", "msg_" + "G" * 32 + "i0", "resp_" + "0" * 33])
def test_other_texts_lead_nowhere(odd: str) -> None:
    assert response_of_item(odd) is None
    assert not is_response_id(odd)


def test_the_model_is_told_nothing_when_input_is_refused(service: Service) -> None:
    reply = service.client().post("/v1/responses", json={"model": MODEL, "input": [CALL]})
    assert reply.status_code == 400
    assert service.resident.asks == []
