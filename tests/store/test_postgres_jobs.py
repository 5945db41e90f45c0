"""Jobs and the rest on PostgreSQL, where there is one: FREEHOLD_TEST_POSTGRES names a database.

Everything in that database is deleted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from freehold.store import Dataset, Said, Store, open_store
from freehold.store.database import connect

URL = os.environ.get("FREEHOLD_TEST_POSTGRES", "")

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


def test_many_workers_claim_each_job_once_and_lose_no_event(store: Store) -> None:
    made = {store.jobs.create(owner="a", kind="batch", spec={}).id for _ in range(30)}
    found: list[str] = []

    def work(name: str) -> None:
        while (job := store.jobs.claim("batch", name)) is not None:
            store.jobs.beat(job.id, name, {"n": 1}, say=[Said("one", data={"odd": "\0\ud800"})])
            store.jobs.tell(job.id, "info", "two")
            store.jobs.finish(job.id, name, "succeeded", say=[Said("three")])
            found.append(job.id)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), set(found)) == (30, made)
    for name in made:
        assert [event.seq for event in store.jobs.events(name, owner="a")] == [1, 2, 3]


def test_a_dead_workers_job_is_taken_over(store: Store) -> None:
    job = store.jobs.create(owner="a", kind="batch", spec={})
    store.jobs.claim("batch", "dead", lease_s=-1.0)
    again = store.jobs.claim("batch", "w2")
    assert again is not None
    assert again.id == job.id
    assert store.jobs.finish(job.id, "dead", "failed") is None
    assert store.jobs.release("w2") == 1


def test_events_told_at_once_have_numbers_of_their_own(store: Store) -> None:
    job = store.jobs.create(owner="a", kind="batch", spec={})
    threads = [
        threading.Thread(target=lambda: store.jobs.tell(job.id, "info", "x")) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.seq for event in store.jobs.events(job.id, owner="a")] == [*range(1, 9)]


def test_files_items_data_and_promotions_are_kept(store: Store) -> None:
    kept = store.files.put(
        owner="a", filename="x", purpose="batch", content=[b"1"], max_bytes=1, expires_at=1e12
    )
    assert store.files.list(owner="a") == [kept]
    run = store.jobs.create(owner="a", kind="eval_run", spec={})
    store.evals.put_item(run.id, 0, {"x": 1})
    store.evals.put_item(run.id, 0, {"x": 2})
    assert store.evals.items(run.id, owner="a") == ((0, {"x": 2}),)
    data = Dataset(
        owner="a",
        name="d",
        digest="sha256:" + "0" * 64,
        rows=1,
        tokens=2**40,
        form="chat",
        licence="MIT",
        basis="own",
        consent=None,
        provenance="",
        created_at=1.0,
    )
    store.datasets.put(data)
    assert store.datasets.get("d", owner="a") == data
    threads = [
        threading.Thread(
            target=lambda: store.promotions.promote(owner="a", name="p", model="m", evidence={})
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.seq for each in store.promotions.history("p")] == [1, 2, 3, 4]
