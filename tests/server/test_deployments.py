"""A server records what it loads, once, and never waits for a hash."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.library import identity as identity_module
from freehold.library.identity import identity_of
from freehold.server.deployments import Deployments
from freehold.store import Event, Store, open_store

INFO = {"isa": "avx2", "threads": 2, "pid": 5}


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(None, home)
    yield opened
    opened.close()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(3 << 20))
    return path


def recorded(store: Store, home: Path, *loads: tuple[str, Path]) -> tuple[Event, ...]:
    deployments = Deployments(store.events, home, url="http://x")
    for name, path in loads:
        deployments.loaded(name, path, INFO)
    deployments._waiting.put(None)
    assert deployments._thread is not None
    deployments._thread.join()
    return store.events.all()


def test_a_load_is_one_event(store: Store, home: Path, weights: Path) -> None:
    (event,) = recorded(store, home, ("m", weights), ("m", weights))
    assert (event.kind, event.subject) == ("served", identity_of(weights).digest)
    assert event.body["server"] == {"url": "http://x", "isa": "avx2", "threads": 2}
    assert (event.body["name"], event.body["location"]) == ("m", str(weights))


def test_each_start_of_the_server_is_an_event(store: Store, home: Path, weights: Path) -> None:
    recorded(store, home, ("m", weights))
    assert len(recorded(store, home, ("m", weights))) == 2


def test_other_weights_at_a_recorded_place_are_told(
    store: Store, home: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorded(store, home, ("m", weights))
    weights.write_bytes(b"others")
    with caplog.at_level(logging.WARNING):
        assert len(recorded(store, home, ("m", weights))) == 2
    assert "are not the recorded ones" in caplog.text


def test_weights_that_cannot_be_read_are_told_and_serving_goes_on(
    store: Store, home: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = recorded(store, home, ("gone", weights / "nonesuch.gguf"), ("m", weights))
    assert [event.body["name"] for event in events] == ["m"]
    assert "gone is served but could not be recorded" in caplog.text


def test_the_end_of_the_server_does_not_wait_for_a_hash(
    store: Store, home: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, ended = threading.Event(), threading.Event()
    hash_file = identity_module.hash_file

    def slow(path: Path, name: str, *, piece_bytes: int = 0, show: object) -> object:
        assert callable(show)

        def show_later(done: int) -> None:
            reading.set()
            ended.wait(10)
            show(done)

        return hash_file(path, name, piece_bytes=piece_bytes, show=show_later)

    monkeypatch.setattr(identity_module, "hash_file", slow)
    deployments = Deployments(store.events, home, url="http://x")
    deployments.loaded("m", weights, INFO)
    assert reading.wait(10)
    closing = threading.Thread(target=deployments.close)
    closing.start()
    while not deployments._ending.is_set():
        pass
    ended.set()
    closing.join(10)
    assert not closing.is_alive()
    assert store.events.all() == ()


def test_a_server_that_loaded_nothing_ends(store: Store, home: Path) -> None:
    Deployments(store.events, home, url="http://x").close()
