"""What is kept is its owner's alone, is listed in pages, and is gone when it is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import EngineDied
from freehold.server.ask import TextDelta
from tests.server.openai.responses_service import Service, opened
from tests.server.scripted import MODEL
from tests.server.whole import whole_app


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    with opened(home) as made:
        yield made


def roles(service: Service) -> list[tuple[str, str]]:
    messages = service.resident.asks[-1].messages or ()
    return [(message["role"], message["content"]) for message in messages]


def test_a_kept_response_is_given_back_as_it_was(service: Service) -> None:
    made = service.create()
    reply = service.client().get(f"/v1/responses/{made['id']}", params={"stream": "false"})
    assert reply.json() == made


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


def test_an_answer_that_broke_off_is_not_kept(service: Service) -> None:
    service.resident.events = (TextDelta(0, "A first half"), EngineDied("the engine ended"))
    reply = service.client().post("/v1/responses", json={"model": MODEL, "input": "Hi"})
    assert reply.status_code == 503
    assert service.resident.answers[0].closed
    assert b"first half" not in b"".join(p.read_bytes() for p in _files(service))


def test_in_the_whole_app_a_key_is_an_owner(home: Path) -> None:
    with whole_app(home) as whole:
        ann, bob = whole.key("ann", "generate"), whole.key("bob", "generate")
        body = {"model": MODEL, "input": "Hi"}
        made = whole.client.post("/v1/responses", json=body, headers=ann).json()
        place = f"/v1/responses/{made['id']}"
        assert whole.client.get(place, headers=ann).json() == made
        assert whole.client.get(place, headers=bob).status_code == 404
        assert whole.client.delete(place, headers=bob).status_code == 404
        assert whole.client.get(place).status_code == 401
        again = {**body, "previous_response_id": made["id"]}
        refused = whole.client.post("/v1/responses", json=again, headers=bob)
        assert refused.json()["error"]["code"] == "not_found"
        assert whole.client.delete(place, headers=ann).status_code == 200
        assert not [line for line in whole.lines() if made["id"] in line]
