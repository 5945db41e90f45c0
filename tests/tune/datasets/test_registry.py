"""Data is taken in with its grounds, kept by its bytes, and refused once it was withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import BadDataset, BadRequest, FreeholdError, NotAdmitted, NotFound
from freehold.store import Store, open_store
from freehold.tune.datasets.registry import BASES, Grounds, Registry, digest_of
from tests.tune.datasets.lines import few, jsonl

GROUNDS = Grounds(basis="own", licence="proprietary", provenance="our help desk")
MODEL = "sha256:" + "a" * 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(None, tmp_path / "home")
    yield opened
    opened.close()


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> Registry:
    return Registry(store, tmp_path / "home")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "data.jsonl", few())


def test_a_data_set_is_kept_by_its_bytes_and_on_record(
    registry: Registry, store: Store, data: Path
) -> None:
    found = registry.add("tickets", data, GROUNDS)
    assert (found.rows, found.basis, found.digest) == (20, "own", digest_of(data))
    data.unlink()
    admitted = registry.admitted("tickets")
    assert digest_of(admitted.path) == admitted.digest == found.digest
    assert admitted.path.stat().st_mode & 0o077 == 0
    (event,) = store.events.about(found.digest)
    assert (event.kind, event.body["basis"]) == ("dataset_admitted", "own")
    assert [one.name for one in registry.all()] == ["tickets"]


@pytest.mark.parametrize(
    "grounds",
    [
        Grounds(basis="", licence="MIT", provenance="x"),
        Grounds(basis="because", licence="MIT", provenance="x"),
        Grounds(basis="own", licence=" ", provenance="x"),
        Grounds(basis="own", licence="MIT", provenance=""),
        Grounds(basis="consent", licence="MIT", provenance="x"),
    ],
)
def test_nothing_without_grounds_is_admitted(
    registry: Registry, data: Path, grounds: Grounds
) -> None:
    with pytest.raises(NotAdmitted) as refusal:
        registry.add("tickets", data, grounds)
    assert refusal.value.expected
    assert registry.all() == []


def test_every_basis_admits_and_consent_with_its_reference(
    registry: Registry, tmp_path: Path
) -> None:
    for number, basis in enumerate(BASES):
        path = jsonl(tmp_path / f"{basis}.jsonl", few(20 + number))
        consent = "form 7, 2025" if basis == "consent" else None
        grounds = Grounds(basis=basis, licence="MIT", provenance="x", consent=consent)
        assert registry.add(basis, path, grounds).consent == consent


@pytest.mark.parametrize(
    ("name", "rows", "error", "words"),
    [
        ("../x", few(), BadDataset, "cannot be a data set's name"),
        ("x", few(9), BadDataset, "too little data"),
        ("x", [*few(), "{"], BadDataset, "line 21"),
    ],
)
def test_what_cannot_be_learned_from_is_not_taken_in(
    registry: Registry, tmp_path: Path, name: str, rows: Any, error: type[FreeholdError], words: str
) -> None:
    with pytest.raises(error, match=words):
        registry.add(name, jsonl(tmp_path / "bad.jsonl", rows), GROUNDS)
    assert registry.all() == []


def test_a_name_is_taken_once_and_an_unknown_one_says_which_there_are(
    registry: Registry, data: Path
) -> None:
    registry.add("tickets", data, GROUNDS)
    with pytest.raises(BadRequest, match="already"):
        registry.add("tickets", data, GROUNDS)
    with pytest.raises(NotFound) as refusal:
        registry.admitted("ticket")
    assert refusal.value.expected == "tickets"


def test_withdrawn_data_is_refused_and_what_learned_it_is_listed(
    registry: Registry, store: Store, data: Path, tmp_path: Path
) -> None:
    whole = registry.add("tickets", data, GROUNDS)
    part = registry.add(
        "tickets-train", jsonl(tmp_path / "p.jsonl", few(15)), GROUNDS, parents=(whole.digest,)
    )
    other = registry.add("other", jsonl(tmp_path / "o.jsonl", few(12)), GROUNDS)
    for number, digest in enumerate((part.digest, other.digest)):
        model = "sha256:" + str(number) * 64
        body = {"name": f"poet-{number}", "location": "/models/poet"}
        store.events.append(kind="tuned", subject=model, body=body, parents=[MODEL, digest])
    found, taught = registry.withdraw("tickets", reason="a customer asked")
    assert found.withdrawn_at is not None
    assert [one.name for one in taught] == ["poet-0"]
    for name in ("tickets", "tickets-train"):
        with pytest.raises(NotAdmitted, match="was withdrawn"):
            registry.admitted(name)
    with pytest.raises(NotAdmitted, match="these very bytes were withdrawn"):
        registry.add("again", data, GROUNDS)
    assert registry.admitted("other").digest == other.digest
    event = store.events.about(whole.digest)[-1]
    assert (event.kind, event.body["reason"]) == ("consent_withdrawn", "a customer asked")
    registry.remove("tickets")
    assert not registry.path(found).exists()
    with pytest.raises(NotAdmitted, match="these very bytes"):
        registry.add("again", data, GROUNDS)


def test_bytes_that_changed_are_refused(registry: Registry, data: Path) -> None:
    registry.add("tickets", data, GROUNDS)
    path = registry.admitted("tickets").path
    path.write_bytes(path.read_bytes().replace(b"harbour", b"arbours"))
    with pytest.raises(BadDataset, match="not the one that was taken in"):
        registry.admitted("tickets")
    registry.remove("tickets")
    assert not path.exists()
    assert registry.all() == []
