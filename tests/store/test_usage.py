"""Usage: what was counted arrives in the database, once, whoever counts beside it."""

from __future__ import annotations

import datetime
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import StoreUnusable
from freehold.store import FILE_NAME, Store, UsageTotal, open_store
from freehold.store import usage as usage_module
from freehold.store.database import BUSY_S


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(None, home)
    yield opened
    opened.close()


def add(store: Store, key_id: str = "k", model: str = "m", times: int = 1) -> None:
    for _ in range(times):
        store.usage.add(key_id, model, prompt_tokens=10, completion_tokens=5, cached_tokens=4)


def total(key_id: str = "k", model: str = "m", times: int = 1) -> UsageTotal:
    return UsageTotal(
        key_id=key_id,
        model=model,
        requests=times,
        prompt_tokens=10 * times,
        completion_tokens=5 * times,
        cached_tokens=4 * times,
    )


def test_sums_per_key_and_model(store: Store) -> None:
    add(store, times=2)
    add(store, model="n")
    add(store, key_id="local")
    store.flush()
    assert store.usage.totals() == [total(times=2), total(model="n"), total(key_id="local")]


def test_one_owner_sees_nothing_of_another(store: Store) -> None:
    add(store, key_id="ann")
    add(store, key_id="bob", times=3)
    store.flush()
    assert store.usage.totals(key_id="ann") == [total(key_id="ann")]
    assert store.usage.totals(key_id="carl") == []


def test_adding_never_touches_the_database(store: Store, home: Path) -> None:
    other = sqlite3.connect(home / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    add(store, times=1000)
    assert time.monotonic() - started < BUSY_S, "it waited for the lock"
    other.execute("ROLLBACK")
    other.close()
    store.flush()
    assert store.usage.totals() == [total(times=1000)]


def test_what_cannot_be_written_is_kept_for_the_next_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.store.database.BUSY_S", 0.05)
    store = open_store(None, home)
    other = sqlite3.connect(home / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    add(store)
    with pytest.raises(StoreUnusable):
        store.flush()
    add(store)
    other.execute("ROLLBACK")
    other.close()
    store.close()
    again = open_store(None, home)
    assert again.usage.totals() == [total(times=2)]
    again.close()


def test_a_thread_writes_without_being_asked(home: Path) -> None:
    first = open_store(None, home)
    store = Store(first.database, flush_every_s=0.02)
    add(store)
    give_up = time.monotonic() + 60
    while not store.usage.totals() and time.monotonic() < give_up:
        time.sleep(0.02)
    assert store.usage.totals() == [total()]
    store.close()
    first.close()


def test_the_thread_outlives_a_database_that_is_locked_for_a_while(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("freehold.store.database.BUSY_S", 0.02)
    first = open_store(None, home)
    store = Store(first.database, flush_every_s=0.02)
    other = sqlite3.connect(home / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    add(store)
    give_up = time.monotonic() + 60
    while "could not be written" not in caplog.text and time.monotonic() < give_up:
        time.sleep(0.02)
    assert "could not be written" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    store.close()
    assert first.usage.totals() == [total()]
    first.close()


def test_closing_twice_counts_once(store: Store, home: Path) -> None:
    add(store)
    store.close()
    store.close()
    again = open_store(None, home)
    assert again.usage.totals() == [total()]
    again.close()


def test_counts_from_many_threads_and_two_stores_add_up(store: Store, home: Path) -> None:
    other = open_store(None, home)

    def count(into: Store) -> None:
        for _ in range(20):
            add(into)
            into.flush()

    threads = [threading.Thread(target=count, args=(each,)) for each in (store, other) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert store.usage.totals() == [total(times=120)]


def test_since_counts_whole_days(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    today = datetime.date(2030, 3, 1)
    for days_ago in (0, 1, 5):
        day = today - datetime.timedelta(days=days_ago)
        monkeypatch.setattr(usage_module, "_today", lambda day=day: day)
        add(store)
    store.flush()
    assert store.usage.totals(since=datetime.date(2030, 2, 28)) == [total(times=2)]
    assert store.usage.totals(since=today) == [total()]
    assert store.usage.totals(since=datetime.date(2030, 3, 2)) == []
    assert store.usage.totals() == [total(times=3)]
