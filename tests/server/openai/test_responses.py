"""Responses are kept for their owner, continued, listed and deleted; nothing else is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from openai.types.responses import Response
from pydantic import TypeAdapter

from freehold.errors import PromptTooLong, QueueFull
from freehold.server.ask import Finish, TextDelta, ToolCallDelta, ToolCallStart, Usage
from tests.server.openai.responses_service import Service, opened
from tests.server.scripted import HELLO, MODEL, USAGE

CALL = (
    ToolCallStart(0, 0, "call_1", "weather"),
    ToolCallDelta(0, 0, '{"city": "Oslo"}'),
    Finish(0, "tool_calls"),
    USAGE,
)
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    with opened(home) as made:
        yield made


def roles(service: Service) -> list[tuple[str, str]]:
    messages = service.resident.asks[-1].messages or ()
    return [(message["role"], message["content"]) for message in messages]


def test_an_answer_is_a_whole_response(service: Service) -> None:
    made = service.create(input="Hi", metadata={"a": "b"}, user="u", instructions="Be brief.")
    TypeAdapter(Response).validate_python(made, strict=True)
    assert made["status"] == "completed"
    assert made["completed_at"] >= made["created_at"]
    assert made["model"] == MODEL
    assert made["metadata"] == {"a": "b"}
    assert made["user"] == "u"
    (item,) = made["output"]
    assert item["status"] == "completed"
    assert item["content"][0]["text"] == "Hello world"
    assert made["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 10,
    }
    assert roles(service) == [("system", "Be brief."), ("user", "Hi")]
    assert service.resident.answers[0].closed


def test_each_response_has_its_own_id(service: Service) -> None:
    made = [service.create() for _ in range(3)]
    ids = {each["id"] for each in made} | {each["output"][0]["id"] for each in made}
    assert len(ids) == 6


def test_a_conversation_goes_on_without_its_old_instructions(service: Service) -> None:
    first = service.create(input="One", instructions="Be brief.")
    second = service.create(input="Two", previous_response_id=first["id"], instructions="Be long.")
    third = service.create(input="Three", previous_response_id=second["id"])
    assert third["previous_response_id"] == second["id"]
    assert roles(service) == [
        ("user", "One"),
        ("assistant", "Hello world"),
        ("user", "Two"),
        ("assistant", "Hello world"),
        ("user", "Three"),
    ]


def test_a_conversation_branches(service: Service) -> None:
    first = service.create(input="One")
    service.create(input="Left", previous_response_id=first["id"])
    service.create(input="Right", previous_response_id=first["id"])
    assert [content for _, content in roles(service)] == ["One", "Hello world", "Right"]


def test_a_conversation_goes_on_from_a_call(service: Service) -> None:
    service.resident.events = CALL
    first = service.create(tools=[WEATHER])
    (call,) = first["output"]
    assert (call["type"], call["call_id"], call["name"]) == ("function_call", "call_1", "weather")
    service.resident.events = HELLO
    output = {"type": "function_call_output", "call_id": "call_1", "output": "Rain."}
    service.create(previous_response_id=first["id"], input=[output])
    _, asked, answered = service.resident.asks[-1].messages or ()
    (called,) = asked["tool_calls"]
    assert called["function"] == {"name": "weather", "arguments": {"city": "Oslo"}}
    assert answered == {
        "role": "tool",
        "tool_call_id": "call_1",
        "name": "weather",
        "content": "Rain.",
    }


def test_a_call_needs_its_output(service: Service) -> None:
    service.resident.events = CALL
    first = service.create(tools=[WEATHER])
    reply = service.client().post(
        "/v1/responses",
        json={"model": MODEL, "input": "And?", "previous_response_id": first["id"]},
    )
    assert reply.status_code == 400
    assert "function_call_output" in reply.json()["error"]["message"]


def test_a_call_that_was_cut_off_cannot_be_continued(service: Service) -> None:
    service.resident.events = (
        ToolCallStart(0, 0, "call_1", "weather"),
        ToolCallDelta(0, 0, '{"city": "Os'),
        Finish(0, "length"),
        USAGE,
    )
    first = service.create(tools=[WEATHER])
    assert first["status"] == "incomplete"
    assert first["output"][0]["status"] == "incomplete"
    output = {"type": "function_call_output", "call_id": "call_1", "output": "Rain."}
    body = {"model": MODEL, "previous_response_id": first["id"], "input": [output]}
    assert service.client().post("/v1/responses", json=body).status_code == 400


def test_an_answer_that_reached_its_limit_is_incomplete_and_can_go_on(service: Service) -> None:
    service.resident.events = (TextDelta(0, "Hel"), Finish(0, "length"), USAGE)
    made = service.create(max_output_tokens=1)
    assert made["status"] == "incomplete"
    assert made["incomplete_details"] == {"reason": "max_output_tokens"}
    assert made["completed_at"] is None
    assert service.resident.asks[0].max_tokens == 1
    service.create(previous_response_id=made["id"], input="Go on.")
    assert roles(service)[1] == ("assistant", "Hel")


def test_tokens_are_counted_without_an_answer(service: Service) -> None:
    first = service.create(input="One")
    body = {"model": MODEL, "input": "Two"}
    count = "/v1/responses/input_tokens"
    alone = service.client().post(count, json=body).json()
    after = service.client().post(count, json={**body, "previous_response_id": first["id"]}).json()
    assert alone["object"] == "response.input_tokens"
    assert 0 < alone["input_tokens"] < after["input_tokens"]
    assert len(service.resident.answers) == 1


def test_counting_refuses_what_answering_does(service: Service) -> None:
    client, count = service.client(), "/v1/responses/input_tokens"
    for field, value in (("personality", "friendly"), ("truncation", "auto"), ("stream", True)):
        reply = client.post(count, json={"model": MODEL, "input": "Hi", field: value})
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == field


@pytest.mark.parametrize(
    ("error", "status"),
    [(PromptTooLong("too long", param="messages"), 400), (QueueFull("full"), 429)],
)
def test_a_refusal_before_the_first_event_has_its_status(
    service: Service, error: PromptTooLong | QueueFull, status: int
) -> None:
    service.resident.refuses = error
    for stream in (False, True):
        body = {"model": MODEL, "input": "Hi", "stream": stream}
        assert service.client().post("/v1/responses", json=body).status_code == status


def test_an_unknown_model_is_not_found(service: Service) -> None:
    error = service.refused({"model": "nothing"}, status=404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")


async def _talk(client: AsyncOpenAI) -> tuple[Response, Response, list[str]]:
    first = await client.responses.create(model=MODEL, input="One")
    second = await client.responses.create(model=MODEL, input="Two", previous_response_id=first.id)
    fetched = await client.responses.retrieve(second.id)
    assert fetched == second
    items = [item async for item in client.responses.input_items.list(second.id, limit=1)]
    count = await client.responses.input_tokens.count(model=MODEL, input="Two")
    assert count.input_tokens > 0
    with pytest.raises(BadRequestError):
        await client.responses.cancel(second.id)
    await client.responses.delete(first.id)
    with pytest.raises(NotFoundError):
        await client.responses.retrieve(first.id)
    return first, second, [str(item.id) for item in items]


def test_the_official_client_speaks_every_call(service: Service) -> None:
    first, second, items = asyncio.run(_talk(service.openai()))
    assert first.output_text == second.output_text == "Hello world"
    assert len(items) == len(set(items)) == 3


def test_an_answer_of_no_words_is_still_a_message(service: Service) -> None:
    service.resident.events = (Finish(0, "stop"), Usage(prompt_tokens=1, completion_tokens=1))
    (item,) = service.create()["output"]
    assert item["content"][0]["text"] == ""
