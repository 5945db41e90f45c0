"""Each kind of event says what a reader will ask of it, and says who and with which version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold import __version__
from freehold.config import resolve_settings
from freehold.library.identity import HashedFile, Identity, identity_of
from freehold.library.record import (
    Calibration,
    MeasuredLoss,
    Source,
    Terms,
    Weights,
    open_record,
    record_acceptance,
    record_imported,
    record_obtained,
    record_quantized,
    record_removed,
    record_served,
    whoever_asks,
)
from freehold.store import Events

LOSS = MeasuredLoss(
    mean_kl=0.0123,
    p99_kl=0.21,
    agreement=0.957,
    perplexity=13.4,
    source_perplexity=13.1,
    text="held-out",
    text_sha256="c" * 64,
    tokens=4096,
)


@pytest.fixture
def events() -> Iterator[Events]:
    with open_record(resolve_settings()) as opened:
        yield opened


def weights(path: Path, data: bytes, name: str = "toy") -> Weights:
    path.write_bytes(data)
    return Weights(
        identity=identity_of(path), name=name, location=path, terms=Terms(licence="apache-2.0")
    )


def test_every_event_says_who_and_with_what(events: Events, tmp_path: Path) -> None:
    toy = weights(tmp_path / "toy.gguf", b"toy")
    event = record_obtained(events, toy, source=Source(kind="package", reference="toy==1.0"))
    assert event.body["by"] == whoever_asks()
    assert event.body["with"] == f"freehold {__version__}"
    assert events.verify().seq == 1


def test_obtained_says_where_from_and_every_file(events: Events, tmp_path: Path) -> None:
    toy = weights(tmp_path / "toy.gguf", b"toy")
    event = record_obtained(
        events, toy, source=Source(kind="hub", reference="org/toy", revision="abc")
    )
    assert (event.kind, event.subject) == ("obtained", toy.identity.digest)
    assert event.body["source"] == {"kind": "hub", "reference": "org/toy", "revision": "abc"}
    assert event.body["licence"] == "apache-2.0"
    assert event.body["location"] == str(tmp_path / "toy.gguf")
    (file,) = event.body["files"]
    assert HashedFile.from_facts(file) == toy.identity.files[0]


def test_imported_says_who_signed(events: Events, tmp_path: Path) -> None:
    toy = weights(tmp_path / "toy.gguf", b"toy")
    source = Source(kind="bundle", reference="b.tar", signed_by="ed25519:1f")
    assert record_imported(events, toy, source=source).body["source"]["signed_by"] == "ed25519:1f"


def test_an_acceptance_keeps_the_text_and_is_found_by_its_hash(events: Events) -> None:
    text = "You may.\n"
    event = record_acceptance(
        events, licence="toy", text=text, by="ann@house", models=["org/toy"], uses=["serve"]
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert events.about(f"sha256:{digest}") == (event,)
    assert (event.body["by"], event.body["text"], event.body["text_sha256"]) == (
        "ann@house",
        text,
        digest,
    )


def test_quantized_says_from_what_how_and_at_what_loss(events: Events, tmp_path: Path) -> None:
    parent = weights(tmp_path / "a.gguf", b"parent")
    child = weights(tmp_path / "b.gguf", b"child")
    event = record_quantized(
        events,
        child,
        parent=parent.identity,
        recipe={"type": "Q4_K_M"},
        loss=LOSS,
        calibration=Calibration(name="own.txt", sha256="d" * 64, tokens=100),
    )
    assert event.parents == (parent.identity.digest,)
    assert event.body["loss"]["mean_kl"] == 0.0123
    assert event.body["recipe"] == {"type": "Q4_K_M"}
    assert event.body["parent_files"][0]["sha256"] == parent.identity.digest[7:]


def test_served_and_removed_name_the_place(events: Events, tmp_path: Path) -> None:
    toy = weights(tmp_path / "toy.gguf", b"toy")
    digest, place = toy.identity.digest, tmp_path / "toy.gguf"
    record_served(events, toy.identity, name="toy", location=place, server={"url": "x"})
    record_served(events, toy.identity, name="toy", location=place, server={"url": "x"})
    record_removed(events, digest, name="toy", location=place)
    first, served, removed = events.about(digest)
    assert "files" in first.body, "nothing else says what these weights are"
    assert "files" not in served.body
    assert (served.kind, served.body["server"]) == ("served", {"url": "x"})
    assert (removed.kind, removed.body["location"]) == ("removed", str(place))


def test_an_identity_knows_its_size(tmp_path: Path) -> None:
    toy: Identity = weights(tmp_path / "toy.gguf", b"toy").identity
    assert toy.size_bytes == 3
