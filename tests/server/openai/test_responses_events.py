"""A stream tells of every item as it grows, in OpenAI's events and their order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from freehold.errors import EngineDied, FreeholdError, StoreUnusable
from freehold.server.ask import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenText,
    ToolCallDelta,
    ToolCallStart,
)
from tests.server.openai.responses_service import Service, opened
from tests.server.scripted import MODEL, USAGE

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

# A model that thinks, speaks, calls twice and speaks again.
EVERYTHING: tuple[Event, ...] = (
    ReasoningDelta(0, "Let me "),
    ReasoningDelta(0, "see."),
    TextDelta(0, "I will "),
    TextDelta(0, "look."),
    ToolCallStart(0, 0, "call_1", "weather"),
    ToolCallDelta(0, 0, '{"city": '),
    ToolCallDelta(0, 0, '"Oslo"}'),
    ToolCallStart(0, 1, "call_2", "now"),
    ToolCallDelta(0, 1, "{}"),
    TextDelta(0, "Done."),
    Finish(0, "tool_calls"),
    USAGE,
)


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    with opened(home) as made:
        yield made


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def words(kind: str, deltas: int) -> list[str]:
    return [
        "output_item.added",
        "content_part.added",
        *[f"{kind}.delta"] * deltas,
        f"{kind}.done",
        "content_part.done",
        "output_item.done",
    ]


def call(deltas: int) -> list[str]:
    return [
        "output_item.added",
        *["function_call_arguments.delta"] * deltas,
        "function_call_arguments.done",
        "output_item.done",
    ]


def strictly(event: dict[str, Any]) -> BaseModel:
    """The event as the official package types it; a field it requires must be there."""
    typed: BaseModel = _EVENT.validate_python(event)
    assert typed.to_dict()["type"] == event["type"]  # type: ignore[attr-defined]
    return typed


def test_a_text_comes_in_its_events(service: Service) -> None:
    events = service.streamed()
    assert types(events) == ["created", "in_progress", *words("output_text", 2), "completed"]
    created, _, added, part, first, second, text, part_done, done, completed = events
    assert created["response"]["status"] == "in_progress"
    assert created["response"]["output"] == []
    assert created["response"]["usage"] is None
    assert added["item"] == {**done["item"], "status": "in_progress", "content": []}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    assert part["part"] == empty
    assert (first["delta"], second["delta"], text["text"]) == ("Hello", " world", "Hello world")
    assert part_done["part"] == {**empty, "text": "Hello world"}
    assert done["item"]["content"] == [part_done["part"]]
    assert completed["response"]["output"] == [done["item"]]
    assert completed["response"]["usage"]["total_tokens"] == 10
    places = {(e["item_id"], e["output_index"], e["content_index"]) for e in events[3:8]}
    assert places == {(done["item"]["id"], 0, 0)}


def test_every_kind_of_item_comes_in_its_events(service: Service) -> None:
    service.resident.events = EVERYTHING
    events = service.streamed()
    assert types(events) == [
        "created",
        "in_progress",
        *words("reasoning_text", 2),
        *words("output_text", 2),
        *call(2),
        *call(1),
        *words("output_text", 1),
        "completed",
    ]
    reasoning, before, weather, now, after = events[-1]["response"]["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Let me see."}]
    assert reasoning["summary"] == []
    assert before["content"][0]["text"] == "I will look."
    assert (weather["call_id"], weather["arguments"]) == ("call_1", '{"city": "Oslo"}')
    assert (now["name"], now["arguments"]) == ("now", "{}")
    assert after["content"][0]["text"] == "Done."
    items = [event for event in events if "output_index" in event]
    assert [e["output_index"] for e in items] == sorted(e["output_index"] for e in items)


def test_every_event_is_numbered_and_typed_as_the_official_package_has_it(
    service: Service,
) -> None:
    service.resident.events = EVERYTHING
    events = service.streamed()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        strictly(event)


def test_the_check_of_types_can_fail(service: Service) -> None:
    event = service.streamed()[4]
    del event["logprobs"]
    with pytest.raises(ValueError, match="logprobs"):
        strictly(event)


def test_a_stream_and_a_whole_answer_are_the_same_response(service: Service) -> None:
    service.resident.events = EVERYTHING
    whole, streamed = service.create(), service.streamed()[-1]["response"]
    for response in (whole, streamed):
        for item in response["output"]:
            assert item.pop("id")
        for name in ("id", "created_at", "completed_at"):
            response.pop(name)
    assert whole == streamed


def test_what_is_kept_is_what_the_last_event_said(service: Service) -> None:
    last = service.streamed()[-1]["response"]
    assert service.client().get(f"/v1/responses/{last['id']}").json() == last


def test_a_limit_ends_the_stream_as_incomplete(service: Service) -> None:
    service.resident.events = (ReasoningDelta(0, "Let me"), Finish(0, "length"), USAGE)
    *_, item, last = service.streamed()
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == "incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert item["item"]["status"] == "incomplete"
    assert last["response"]["output"] == [item["item"]]


def _assert_failed(events: list[dict[str, Any]]) -> None:
    *_, error, failed = events
    assert (error["type"], failed["type"]) == ("error", "response.failed")
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["code"] == "server_error"
    assert failed["response"]["error"]["message"] == error["message"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        strictly(event)


@pytest.mark.parametrize(
    "said",
    [
        (),
        (TextDelta(0, "Hel"),),
        (ToolCallStart(0, 0, "call_1", "now"), ToolCallDelta(0, 0, "{")),
        (TextDelta(0, "Hel"), Finish(0, "stop")),
    ],
)
def test_an_answer_that_breaks_off_ends_in_an_error_and_is_not_kept(
    service: Service, said: tuple[Event, ...]
) -> None:
    service.resident.events = (*said, EngineDied("the engine ended"))
    events = service.streamed()
    _assert_failed(events)
    assert events[-2]["code"] == "capacity.engine_died"
    place = f"/v1/responses/{events[0]['response']['id']}"
    assert service.client().get(place).status_code == 404
    assert service.resident.answers[0].closed


def test_a_response_that_cannot_be_kept_is_not_called_complete(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(response: object) -> None:
        raise StoreUnusable("the disk is full")

    monkeypatch.setattr(service.store.responses, "put", fail)
    events = service.streamed()
    _assert_failed(events)
    assert "response.completed" not in {event["type"] for event in events}
    reply = service.client().post("/v1/responses", json={"model": MODEL, "input": "Hi"})
    assert reply.status_code == 503


def test_log_probabilities_come_with_their_text(service: Service) -> None:
    top = TokenText(2, "Ho", b"Ho", -2.0)
    token = TokenText(1, "Hé", "Hé".encode(), -0.5, (top,))
    service.resident.events = (
        TextDelta(0, "Hé", (token,)),
        TextDelta(0, "!", (top,)),
        Finish(0, "stop"),
        USAGE,
    )
    events = service.streamed(include=["message.output_text.logprobs"], top_logprobs=1)
    for event in events:
        strictly(event)
    assert service.resident.ask.logprobs == 1
    first = {
        "token": "Hé",
        "logprob": -0.5,
        "bytes": [72, 195, 169],
        "top_logprobs": [{"token": "Ho", "logprob": -2.0, "bytes": [72, 111]}],
    }
    second = {"token": "Ho", "logprob": -2.0, "bytes": [72, 111], "top_logprobs": []}
    delta, after = (e["logprobs"] for e in events if e["type"].endswith("text.delta"))
    assert (delta, after) == ([first], [second])
    (done,) = (e for e in events if e["type"].endswith("text.done"))
    assert done["logprobs"] == [first, second]
    (item,) = events[-1]["response"]["output"]
    assert item["content"][0]["logprobs"] == [first, second]


async def _follow(client: AsyncOpenAI) -> tuple[str, list[str], str]:
    async with client.responses.stream(model=MODEL, input="Hi") as stream:
        seen = [str(event.type) async for event in stream]
        final = await stream.get_final_response()
    (found,) = [item for item in final.output if item.type == "function_call"][:1]
    return final.output_text, seen, found.arguments


def test_the_official_client_puts_the_stream_together(service: Service) -> None:
    service.resident.events = EVERYTHING
    text, seen, arguments = asyncio.run(_follow(service.openai()))
    assert text == "I will look.Done."
    assert arguments == '{"city": "Oslo"}'
    assert seen[0] == "response.created"
    assert seen[-1] == "response.completed"


def test_errors_say_nothing_of_the_text(service: Service) -> None:
    error: FreeholdError = EngineDied("the engine ended")
    service.resident.events = (TextDelta(0, "A secret."), error)
    *_, said, _ = service.streamed(input="Another secret.")
    assert "secret" not in said["message"]
