"""What a client of `/v1/messages` is given: blocks, events, usage, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.errors import EngineDied, FreeholdError, PromptTooLong, QueueFull
from freehold.server.ask import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)
from freehold.server.routes.anthropic import router
from freehold.server.routes.anthropic.signatures import signature_of
from tests.server.anthropic.asking import HELLO as HELLO_MESSAGES
from tests.server.anthropic.asking import WEATHER, events, post
from tests.server.forming import surface_client
from tests.server.scripted import HELLO, MODEL, USAGE, ScriptedResident

CALLS: tuple[Event, ...] = (
    ReasoningDelta(0, "Which "),
    ReasoningDelta(0, "city?"),
    TextDelta(0, "Looking."),
    ToolCallStart(0, 0, "call_1", "weather"),
    ToolCallDelta(0, 0, '{"city"'),
    ToolCallDelta(0, 0, ': "Bern"}'),
    ToolCallStart(0, 1, "call_2", "weather"),
    ToolCallDelta(0, 1, "{}"),
    TextDelta(0, " Done."),
    Finish(0, "tool_calls"),
    USAGE,
)


def whole(*script: Event | FreeholdError, **fields: Any) -> dict[str, Any]:
    response = post(ScriptedResident(events=script), **fields)
    assert response.status_code == 200, response.text
    message: dict[str, Any] = response.json()
    return message


def streamed(*script: Event | FreeholdError, **fields: Any) -> list[dict[str, Any]]:
    resident = ScriptedResident(events=script)
    response = post(resident, stream=True, **fields)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert [answer.closed for answer in resident.answers] == [True]
    return events(response)


def test_a_whole_message_has_every_field_of_the_interface() -> None:
    message = whole(*HELLO)
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "scripted/model",
        "content": [{"type": "text", "text": "Hello world"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
            "output_tokens": 3,
            "output_tokens_details": {"thinking_tokens": 1},
            "service_tier": "standard",
        },
    }


def test_the_answer_of_a_whole_message_is_closed() -> None:
    resident = ScriptedResident()
    assert post(resident).headers["request-id"] == "req_test"
    assert [answer.closed for answer in resident.answers] == [True]


def test_blocks_keep_the_order_in_which_they_were_written() -> None:
    assert whole(*CALLS)["content"] == [
        {"type": "thinking", "thinking": "Which city?", "signature": signature_of("Which city?")},
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}},
        {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}},
        {"type": "text", "text": " Done."},
    ]


@pytest.mark.parametrize(
    ("finish", "reason", "sequence"),
    [
        (Finish(0, "stop"), "end_turn", None),
        (Finish(0, "stop", "END"), "stop_sequence", "END"),
        (Finish(0, "length"), "max_tokens", None),
        (Finish(0, "tool_calls"), "tool_use", None),
    ],
)
def test_why_the_answer_ended(finish: Finish, reason: str, sequence: str | None) -> None:
    message = whole(TextDelta(0, "x"), finish, USAGE)
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)
    delta = streamed(TextDelta(0, "x"), finish, USAGE)[-2]["delta"]
    assert delta == {"stop_reason": reason, "stop_sequence": sequence}


def test_a_stream_has_the_events_of_the_interface_in_order() -> None:
    found = streamed(*HELLO)
    assert [event["type"] for event in found] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert found[0]["message"]["content"] == []
    assert found[0]["message"]["usage"]["input_tokens"] == 7
    assert found[3]["delta"] == {"type": "text_delta", "text": "Hello"}
    assert found[-2]["usage"]["cache_read_input_tokens"] == 2


def test_a_stream_adds_up_to_the_whole_message() -> None:
    blocks: list[dict[str, Any]] = []
    for event in streamed(*CALLS):
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "pieces": ""})
        elif event["type"] == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            kind, delta = event["delta"].pop("type"), event["delta"]
            (piece,) = delta.values()
            if kind == "signature_delta":
                blocks[-1]["signature"] = piece
            else:
                blocks[-1]["pieces"] += piece
    for block in blocks:
        pieces = block.pop("pieces")
        if block["type"] == "tool_use":
            block["input"] = json.loads(pieces)
        else:
            block[block["type"]] = pieces
    assert blocks == whole(*CALLS)["content"]


def test_arguments_come_in_pieces_unless_a_tool_wants_them_whole() -> None:
    def pieces(**tool: Any) -> list[str]:
        found = streamed(*CALLS, tools=[{**WEATHER, **tool}])
        deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
        return [delta["partial_json"] for delta in deltas if delta["type"] == "input_json_delta"]

    assert pieces() == ['{"city"', ': "Bern"}', "{}"]
    assert pieces(eager_input_streaming=False) == ['{"city": "Bern"}', "{}"]


def test_a_call_that_was_cut_off_is_not_claimed() -> None:
    script = (*CALLS[3:5], Finish(0, "length"), USAGE)
    assert whole(*script)["content"] == [{"type": "text", "text": '{"city"'}]


def test_an_empty_answer_has_no_blocks() -> None:
    assert whole(TextDelta(0, ""), Finish(0, "stop"), USAGE)["content"] == []


THINKING: tuple[Event, ...] = (
    *(ReasoningDelta(0, "hello") for _ in range(3000)),
    TextDelta(0, "never said"),
    Finish(0, "stop"),
    USAGE,
)


def test_thinking_ends_with_its_budget() -> None:
    resident = ScriptedResident(events=THINKING)
    budget = {"type": "enabled", "budget_tokens": 1024}
    message = post(resident, thinking=budget, max_tokens=4000).json()
    (thinking,) = message["content"]
    assert thinking["thinking"] == "hello" * 1024
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["output_tokens"] == 1024
    (answer,) = resident.answers
    assert answer.cancelled
    assert answer.closed


def test_thinking_within_its_budget_is_let_finish() -> None:
    budget = {"type": "enabled", "budget_tokens": 3001}
    message = whole(*THINKING, thinking=budget, max_tokens=4000)
    assert message["content"][-1] == {"type": "text", "text": "never said"}
    assert message["usage"]["output_tokens"] == USAGE.completion_tokens


def test_an_error_on_the_way_is_the_last_event() -> None:
    found = streamed(TextDelta(0, "Hel"), EngineDied("the engine ended"))
    assert found[-1] == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "the engine ended"},
        "request_id": "req_test",
    }


def test_an_error_before_the_first_token_of_a_whole_message_has_its_status() -> None:
    response = post(ScriptedResident(events=(EngineDied("the engine ended"),)))
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (PromptTooLong("9 tokens do not fit 8"), 400, "invalid_request_error"),
        (QueueFull("too many wait"), 429, "rate_limit_error"),
    ],
)
def test_a_refusal_comes_before_the_stream(
    stream: bool, error: FreeholdError, status: int, kind: str
) -> None:
    response = post(ScriptedResident(refuses=error), stream=stream)
    assert response.status_code == status
    assert response.json()["error"]["type"] == kind
    assert response.json()["request_id"] == "req_test"


def test_tokens_are_counted_as_the_model_would_read_them() -> None:
    resident = ScriptedResident()
    client = surface_client("anthropic", router, resident)
    body = {"model": MODEL, "messages": HELLO_MESSAGES, "system": "Be brief."}
    counted = client.post("/v1/messages/count_tokens", json=body)
    expected = len(resident.encode("system: Be brief.\nuser: Hello\n"))
    assert counted.json() == {"input_tokens": expected}


def test_counting_has_no_field_for_the_answer() -> None:
    response = post(ScriptedResident(), "/v1/messages/count_tokens")
    assert response.status_code == 400
    assert "max_tokens" in response.json()["error"]["message"]
