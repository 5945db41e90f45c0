"""Responses are kept for their owner, continued, listed and deleted; nothing else is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from openai.types.responses import Response
from pydantic import TypeAdapter

from freehold.errors import EngineDied, PromptTooLong, QueueFull
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


def test_a_kept_response_is_given_back_as_it_was(service: Service) -> None:
    made = service.create()
    reply = service.client().get(f"/v1/responses/{made['id']}", params={"stream": "false"})
    assert reply.json() == made


def test_each_response_has_its_own_id(service: Service) -> None:
    made = [service.create() for _ in range(3)]
    ids = {each["id"] for each in made} | {each["output"][0]["id"] for each in made}
    assert len(ids) == 6


@pytest.mark.parametrize("stream", [False, True])
def test_store_false_keeps_nothing(service: Service, stream: bool) -> None:
    if stream:
        *_, last = service.streamed(store=False)
        made = last["response"]
    else:
        made = service.create(store=False)
    assert made["store"] is False
    assert service.client().get(f"/v1/responses/{made['id']}").status_code == 404
    assert b"Hello world" not in b"".join(p.read_bytes() for p in _files(service))


def _files(service: Service) -> list[Path]:
    return list(Path(service.store.database.place).parent.glob("*"))


def test_another_owner_finds_nothing(service: Service) -> None:
    made = service.create("ann")
    place, bob = f"/v1/responses/{made['id']}", service.client("bob")
    item = made["output"][0]["id"]
    body: dict[str, Any] = {"model": MODEL, "input": "Hi"}
    again = {**body, "previous_response_id": made["id"]}
    copied = {**body, "input": [{"type": "item_reference", "id": item}]}
    for reply in (
        bob.get(place),
        bob.get(f"{place}/input_items"),
        bob.delete(place),
        bob.post(f"{place}/cancel"),
        bob.post("/v1/responses", json=again),
        bob.post("/v1/responses", json=copied),
        bob.post("/v1/responses/input_tokens", json=again),
    ):
        assert reply.status_code == 404, reply.request.url
        assert "Hello" not in reply.text
    assert service.client("ann").get(place).status_code == 200


@pytest.mark.parametrize("unknown", ["resp_" + "0" * 32, "resp_1", "nothing", "resp_%00", "é"])
def test_an_unknown_response_is_not_found(service: Service, unknown: str) -> None:
    client = service.client()
    for reply in (
        client.get(f"/v1/responses/{unknown}"),
        client.delete(f"/v1/responses/{unknown}"),
        client.get(f"/v1/responses/{unknown}/input_items"),
        client.post(f"/v1/responses/{unknown}/cancel"),
    ):
        assert reply.status_code == 404
    error = service.refused({"previous_response_id": unknown}, status=404)
    assert error["param"] == "previous_response_id"


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


def test_nothing_goes_on_past_a_deleted_turn(service: Service) -> None:
    first = service.create(input="One")
    second = service.create(input="Two", previous_response_id=first["id"])
    third = service.create(input="Three", previous_response_id=second["id"])
    client = service.client()
    deleted = client.delete(f"/v1/responses/{first['id']}")
    assert deleted.json() == {"id": first["id"], "object": "response", "deleted": True}
    assert client.delete(f"/v1/responses/{first['id']}").status_code == 404
    assert client.get(f"/v1/responses/{first['id']}").status_code == 404
    assert client.get(f"/v1/responses/{third['id']}").status_code == 200
    body = {"model": MODEL, "input": "Four", "previous_response_id": third["id"]}
    reply = client.post("/v1/responses", json=body)
    assert reply.status_code == 404
    assert reply.json()["error"]["param"] == "previous_response_id"
    listed = client.get(f"/v1/responses/{third['id']}/input_items", params={"order": "asc"})
    assert "One" not in listed.text
    assert [item["content"][0]["text"] for item in listed.json()["data"]] == [
        "Two",
        "Hello world",
        "Three",
    ]


def test_input_items_come_in_pages(service: Service) -> None:
    first = service.create(input="One")
    texts = [f"number {n}" for n in range(5)]
    items = [{"role": "user", "content": text} for text in texts]
    second = service.create(input=items, previous_response_id=first["id"])
    every = ["One", "Hello world", *texts]

    def listed(**params: Any) -> dict[str, Any]:
        place = f"/v1/responses/{second['id']}/input_items"
        page: dict[str, Any] = service.client().get(place, params=params).json()
        return page

    def words(page: dict[str, Any]) -> list[str]:
        return [item["content"][0]["text"] for item in page["data"]]

    assert words(listed()) == every[::-1]
    assert words(listed(order="asc")) == every
    page = listed(order="asc", limit=3)
    assert (words(page), page["has_more"]) == (every[:3], True)
    assert page["first_id"] == page["data"][0]["id"]
    page = listed(order="asc", limit=3, after=page["last_id"])
    assert words(page) == every[3:6]
    page = listed(order="asc", limit=3, after=page["last_id"])
    assert (words(page), page["has_more"]) == (every[6:], False)
    page = listed(order="asc", after=page["last_id"])
    assert (page["data"], page["first_id"], page["last_id"]) == ([], None, None)


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"limit": "0"}, 400),
        ({"limit": "101"}, 400),
        ({"limit": "many"}, 400),
        ({"order": "random"}, 400),
        ({"before": "msg_1"}, 400),
        ({"after": "msg_1"}, 404),
        ({"include[]": "file_search_call.results"}, 400),
        ({"include": "reasoning.encrypted_content"}, 400),
    ],
)
def test_a_list_refuses_what_it_does_not_know(
    service: Service, params: dict[str, str], status: int
) -> None:
    made = service.create()
    reply = service.client().get(f"/v1/responses/{made['id']}/input_items", params=params)
    assert reply.status_code == status
    assert reply.json()["error"]["param"] == next(iter(params)).removesuffix("[]")


@pytest.mark.parametrize(
    "params",
    [{"stream": "true"}, {"starting_after": "3"}, {"include_obfuscation": "true"}, {"x": "1"}],
)
def test_a_kept_response_comes_whole_or_not(service: Service, params: dict[str, str]) -> None:
    made = service.create()
    reply = service.client().get(f"/v1/responses/{made['id']}", params=params)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == next(iter(params))


def test_a_finished_response_cannot_be_cancelled(service: Service) -> None:
    made = service.create()
    reply = service.client().post(f"/v1/responses/{made['id']}/cancel")
    assert reply.status_code == 400
    assert "background" in reply.json()["error"]["message"]


def test_an_item_can_stand_in_by_its_id(service: Service) -> None:
    first = service.create(input="One")
    listed = service.client().get(f"/v1/responses/{first['id']}/input_items").json()["data"]
    second = service.create(
        input=[
            {"type": "item_reference", "id": listed[0]["id"]},
            {"id": first["output"][0]["id"]},
            {"role": "user", "content": "Two"},
        ]
    )
    said = [("user", "One"), ("assistant", "Hello world"), ("user", "Two")]
    assert roles(service) == said
    place = f"/v1/responses/{second['id']}/input_items"
    copies = {item["id"] for item in service.client().get(place).json()["data"]}
    assert len(copies) == 3
    assert not copies & {listed[0]["id"], first["output"][0]["id"]}


@pytest.mark.parametrize(
    "unknown", ["msg_1", "msg_" + "0" * 32 + "o0", "msg_" + "0" * 32, "x" * 200, "\u0000"]
)
def test_an_unknown_item_is_not_found(service: Service, unknown: str) -> None:
    error = service.refused({"input": [{"type": "item_reference", "id": unknown}]}, status=404)
    assert error["param"] == "input.0.id"


def test_short_references_cannot_stand_for_endless_text(service: Service) -> None:
    first = service.create(input="x" * (1 << 20))
    (item,) = service.client().get(f"/v1/responses/{first['id']}/input_items").json()["data"]
    body = {"model": MODEL, "input": [{"type": "item_reference", "id": item["id"]}] * 9}
    reply = service.client().post("/v1/responses", json=body)
    assert reply.status_code == 413
    assert len(service.resident.answers) == 1


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


def test_an_answer_that_broke_off_is_not_kept(service: Service) -> None:
    service.resident.events = (TextDelta(0, "A first half"), EngineDied("the engine ended"))
    reply = service.client().post("/v1/responses", json={"model": MODEL, "input": "Hi"})
    assert reply.status_code == 503
    assert service.resident.answers[0].closed
    assert b"first half" not in b"".join(p.read_bytes() for p in _files(service))


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
