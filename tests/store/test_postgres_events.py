"""The record on PostgreSQL, where there is one: FREEHOLD_TEST_POSTGRES names an empty database.

Everything in that database is deleted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from freehold.errors import ChainBroken
from freehold.store import Store, open_store
from freehold.store.database import connect

URL = os.environ.get("FREEHOLD_TEST_POSTGRES", "")
WEIGHTS = "sha256:" + "a" * 64

pytestmark = pytest.mark.skipif(not URL, reason="needs a database in FREEHOLD_TEST_POSTGRES")


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    database = connect(URL, home)
    with database.write() as connection:
        for name in sa.inspect(connection).get_table_names():
            connection.exec_driver_sql(f'DROP TABLE "{name}"')
    database.close()
    opened = open_store(URL, home)
    yield opened
    opened.close()


def run(store: Store, *statements: str) -> None:
    with store.database.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def fill(store: Store, count: int) -> None:
    for number in range(count):
        store.events.append(kind="served", subject=WEIGHTS, body={"n": number, "odd": "\0\ud800"})


def test_gives_back_what_was_appended_and_verifies(store: Store) -> None:
    fill(store, 3)
    assert [event.body["n"] for event in store.events.about(WEIGHTS)] == [0, 1, 2]
    assert store.events.all()[0].body["odd"] == "\0\ud800"
    assert store.events.verify().seq == 3


def test_many_at_once_make_one_chain(store: Store, home: Path) -> None:
    def work() -> None:
        other = open_store(URL, home)
        fill(other, 10)
        other.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.events.verify().seq == 40


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET body = '{}' WHERE seq = 1",
        "DELETE FROM events WHERE seq = 2",
        "TRUNCATE events",
        "UPDATE event_head SET seq = 1",
        "DELETE FROM event_head",
        "TRUNCATE event_head",
        "INSERT INTO event_head VALUES (2, 9, 'x')",
    ],
)
def test_the_database_itself_refuses_to_change_an_event(store: Store, statement: str) -> None:
    fill(store, 2)
    with pytest.raises(DBAPIError, match="can only grow"):
        run(store, statement)
    assert store.events.verify().seq == 2


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE events SET body = body || ' ' WHERE seq = 2", "event 2 was altered"),
        ("DELETE FROM events WHERE seq = 2", "event 2 is missing"),
        ("DELETE FROM events WHERE seq = 3", "event 3 is missing from the end"),
    ],
)
def test_what_its_owner_changes_is_found(store: Store, statement: str, message: str) -> None:
    fill(store, 3)
    run(store, "ALTER TABLE events DISABLE TRIGGER ALL", statement)
    with pytest.raises(ChainBroken, match=message):
        store.events.verify()
