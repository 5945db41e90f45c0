"""Stored responses: an owner sees their own, and what is deleted is nowhere any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import StoreUnusable
from freehold.store import Responses, Store, StoredResponse, open_store


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(None, home)
    yield opened
    opened.close()


@pytest.fixture
def kept(store: Store) -> Responses:
    return store.responses


def turn(name: str, *, owner: str = "ann", before: str | None = None) -> StoredResponse:
    return StoredResponse(
        id=name,
        owner=owner,
        created_at=1_700_000_000.5,
        model="some/model",
        previous_id=before,
        input=[{"type": "message", "content": f"asked in {name}"}],
        output={"id": name, "output": [{"type": "message", "content": f"said in {name}"}]},
    )


def test_gives_back_what_was_put(kept: Responses) -> None:
    kept.put(turn("a"))
    assert kept.get("a", owner="ann") == turn("a")


def test_keeps_every_character(kept: Responses) -> None:
    odd = "\0 \ud800 \u2028 \U0001f600"
    response = turn("a")
    response.output["text"] = odd
    kept.put(response)
    found = kept.get("a", owner="ann")
    assert found is not None
    assert found.output["text"] == odd


def test_another_owner_sees_nothing(kept: Responses) -> None:
    kept.put(turn("a"))
    assert kept.get("a", owner="bob") is None
    assert kept.conversation("a", owner="bob") == []
    assert not kept.delete("a", owner="bob")
    assert kept.get("a", owner="ann") is not None


def test_a_conversation_comes_oldest_first(kept: Responses) -> None:
    for name, before in (("a", None), ("b", "a"), ("c", "b"), ("d", "b")):
        kept.put(turn(name, before=before))
    assert [each.id for each in kept.conversation("c", owner="ann")] == ["a", "b", "c"]
    assert [each.id for each in kept.conversation("d", owner="ann")] == ["a", "b", "d"]
    assert kept.conversation("a", owner="ann") == [turn("a")]


def test_a_conversation_never_reaches_into_another_owners(kept: Responses) -> None:
    kept.put(turn("a", owner="bob"))
    kept.put(turn("b", before="a"))
    assert [each.id for each in kept.conversation("b", owner="ann")] == ["b"]


def test_a_conversation_begins_after_a_deleted_turn(kept: Responses) -> None:
    for name, before in (("a", None), ("b", "a"), ("c", "b")):
        kept.put(turn(name, before=before))
    assert kept.delete("a", owner="ann")
    first, *_ = found = kept.conversation("c", owner="ann")
    assert [each.id for each in found] == ["b", "c"]
    assert first.previous_id == "a"


def test_a_long_conversation_comes_whole(kept: Responses) -> None:
    names = [f"turn{number:04}" for number in range(1200)]
    for name, before in zip(names, [None, *names], strict=False):
        kept.put(turn(name, before=before))
    assert [each.id for each in kept.conversation(names[-1], owner="ann")] == names


def test_deleting_is_final(kept: Responses) -> None:
    kept.put(turn("a"))
    assert kept.delete("a", owner="ann")
    assert kept.get("a", owner="ann") is None
    assert not kept.delete("a", owner="ann")


def test_deleted_text_is_not_in_the_files(store: Store, home: Path) -> None:
    secret = "a sentence that shall be forgotten"
    response = turn("a")
    response.output["text"] = secret
    store.responses.put(response)
    assert secret.encode() in _bytes_in(home)
    store.responses.delete("a", owner="ann")
    store.close()
    assert secret.encode() not in _bytes_in(home)


def test_an_id_is_used_once(kept: Responses) -> None:
    kept.put(turn("a"))
    with pytest.raises(StoreUnusable) as caught:
        kept.put(turn("a", owner="bob"))
    assert "asked in" not in str(caught.value)
    assert kept.get("a", owner="ann") == turn("a")


def _bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
