"""The same store on PostgreSQL, where there is one: FREEHOLD_TEST_POSTGRES names an empty database.

Everything in that database is deleted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from freehold.errors import StoreUnusable
from freehold.store import Limits, Store, StoredResponse, open_store
from freehold.store.database import connect
from freehold.store.schema import metadata

URL = os.environ.get("FREEHOLD_TEST_POSTGRES", "")

pytestmark = pytest.mark.skipif(not URL, reason="needs a database in FREEHOLD_TEST_POSTGRES")


@pytest.fixture(autouse=True)
def _emptied(home: Path) -> None:
    database = connect(URL, home)
    with database.write() as connection:
        for name in sa.inspect(connection).get_table_names():
            connection.exec_driver_sql(f'DROP TABLE "{name}"')
    database.close()


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(URL, home)
    yield opened
    opened.close()


def test_the_steps_end_in_the_schema(store: Store) -> None:
    with store.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_keys_usage_and_responses_are_kept(store: Store, home: Path) -> None:
    record, secret = store.keys.create("a", ["read"], Limits(tokens_per_minute=7))
    store.keys.used(record.id)
    store.usage.add(record.id, "m", prompt_tokens=2**40, completion_tokens=1)
    store.flush()
    store.usage.add(record.id, "m", prompt_tokens=1, completion_tokens=1)
    kept = StoredResponse(
        id="r",
        owner="ann",
        created_at=1.5,
        model="m",
        previous_id=None,
        input=[{"text": "a\0b \ud800 ü"}],
        output={"text": "\0"},
    )
    store.responses.put(kept)
    store.close()
    again = open_store(URL, home)
    found = again.keys.find(secret)
    assert found is not None
    assert (found.name, found.limits.tokens_per_minute) == ("a", 7)
    assert found.last_used_at is not None
    (total,) = again.usage.totals(key_id=record.id)
    assert (total.requests, total.prompt_tokens) == (2, 2**40 + 1)
    assert again.responses.get("r", owner="ann") == kept
    assert again.responses.get("r", owner="bob") is None
    again.close()


def test_several_that_open_at_once_take_each_step_once(home: Path) -> None:
    failed: list[Exception] = []

    def open_and_count(number: int) -> None:
        try:
            store = open_store(URL, home)
            store.keys.create(f"key {number}")
            store.usage.add("k", "m", prompt_tokens=1, completion_tokens=1)
            store.close()
        except StoreUnusable as error:
            failed.append(error)

    threads = [threading.Thread(target=open_and_count, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    store = open_store(URL, home)
    assert len(store.keys.list()) == 6
    assert store.usage.totals()[0].requests == 6
    store.close()


def test_an_absent_database_is_told_without_the_password(home: Path) -> None:
    wrong = sa.make_url(URL).set(database="nonesuch", password="secret-word")
    with pytest.raises(StoreUnusable) as error:
        open_store(wrong.render_as_string(hide_password=False), home)
    assert "secret-word" not in str(error.value)
