"""Opening the database: private, refused clearly when unusable, safe for two processes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from freehold.errors import StoreUnusable
from freehold.store import FILE_NAME, Store, open_store
from freehold.store.database import connect

IS_ROOT = os.geteuid() == 0


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pragma(home: Path, name: str) -> object:
    database = connect(None, home)
    with database.read() as connection:
        value = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
    database.close()
    return value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("journal_mode", "wal"),
        ("busy_timeout", 10_000),
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("synchronous", 2),
    ],
)
def test_every_connection_has_its_pragmas(home: Path, name: str, value: object) -> None:
    open_store(None, home).close()
    assert pragma(home, name) == value


def test_file_and_directory_are_private(home: Path) -> None:
    old = os.umask(0)
    try:
        store = open_store(None, home)
        store.keys.create("a")
        modes = {path.name: mode_of(path) for path in home.iterdir()}
        store.close()
    finally:
        os.umask(old)
    assert mode_of(home) == 0o700
    assert modes == dict.fromkeys((FILE_NAME, FILE_NAME + "-wal", FILE_NAME + "-shm"), 0o600)


def test_a_file_that_others_could_read_is_made_private(home: Path) -> None:
    open_store(None, home).close()
    (home / FILE_NAME).chmod(0o644)
    open_store(None, home).close()
    assert mode_of(home / FILE_NAME) == 0o600


def test_an_sqlite_url_names_another_file(home: Path, tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/other.db", home).close()
    assert mode_of(tmp_path / "other.db") == 0o600
    assert not home.exists()


@pytest.mark.parametrize(
    "url",
    ["mysql://me:secret-word@db/x", "sqlite://", "sqlite:///:memory:", "not a url", "secret-word"],
)
def test_refuses_a_url_it_cannot_open_without_repeating_it(home: Path, url: str) -> None:
    with pytest.raises(StoreUnusable) as error:
        open_store(url, home)
    assert "postgresql://" in str(error.value)
    assert "secret-word" not in str(error.value)


def test_postgresql_without_its_driver_names_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreUnusable, match=r"freehold\[postgres\]"):
        open_store("postgresql://me:secret-word@db/freehold", home)


def test_refuses_a_file_that_is_no_database(home: Path) -> None:
    home.mkdir()
    (home / FILE_NAME).write_bytes(b"something else entirely, for long enough" * 200)
    with pytest.raises(StoreUnusable, match="not a database"):
        open_store(None, home)


def test_refuses_a_database_of_another_program(home: Path) -> None:
    home.mkdir()
    other = sqlite3.connect(home / FILE_NAME)
    other.execute("CREATE TABLE recipes (name TEXT)")
    other.commit()
    other.close()
    with pytest.raises(StoreUnusable, match="another program"):
        open_store(None, home)


def test_refuses_a_damaged_file(home: Path) -> None:
    store = open_store(None, home)
    for number in range(50):
        store.keys.create(f"key {number}")
    store.close()
    path = home / FILE_NAME
    whole = bytearray(path.read_bytes())
    # All but the header: pages of nonsense.
    whole[4096:] = b"\xa5" * (len(whole) - 4096)
    path.write_bytes(whole)
    with pytest.raises(StoreUnusable, match="damaged"):
        open_store(None, home).keys.list()


def test_a_directory_in_the_way_is_told(home: Path) -> None:
    (home / FILE_NAME).mkdir(parents=True)
    with pytest.raises(StoreUnusable):
        open_store(None, home)


def test_a_file_in_place_of_the_home_is_told(home: Path) -> None:
    home.write_text("in the way")
    with pytest.raises(StoreUnusable, match="cannot be made"):
        open_store(None, home)


@pytest.mark.skipif(IS_ROOT, reason="everything is writable for root")
def test_a_read_only_directory_is_told(home: Path) -> None:
    home.mkdir()
    home.chmod(0o500)
    with pytest.raises(StoreUnusable):
        open_store(None, home)


def with_pragma(store: Store, pragma: str) -> Callable[[], None]:
    """Set a pragma on every connection of the store; the result takes that back."""

    def add(connection: sqlite3.Connection, _entry: object) -> None:
        connection.execute(f"PRAGMA {pragma}")

    engine = store.database.engine
    sa.event.listen(engine, "connect", add)
    engine.dispose()

    def undo() -> None:
        sa.event.remove(engine, "connect", add)
        engine.dispose()

    return undo


def test_a_read_only_database_is_told(home: Path) -> None:
    store = open_store(None, home)
    undo = with_pragma(store, "query_only = ON")
    with pytest.raises(StoreUnusable, match="read-only"):
        store.keys.create("a")
    undo()
    store.close()


def test_a_full_disk_is_told_and_nothing_is_half_written(home: Path) -> None:
    store = open_store(None, home)
    store.keys.create("before")
    undo = with_pragma(store, "max_page_count = 1")

    def fill() -> None:
        for number in range(2000):
            store.keys.create(f"key {number}")

    with pytest.raises(StoreUnusable, match="full"):
        fill()
    undo()
    assert store.keys.list()[0].name == "before"
    store.keys.create("after")
    store.close()


def test_errors_hold_no_values_of_the_statement(home: Path) -> None:
    store = open_store(None, home)
    with (
        pytest.raises(StoreUnusable) as error,
        store.database.write() as connection,
    ):
        connection.execute(sa.text("INSERT INTO nowhere VALUES (:x)"), {"x": "a private text"})
    assert "private" not in str(error.value)
    assert "private" not in str(error.value.__cause__)
    store.close()


def test_a_lock_held_too_long_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(None, home).close()
    monkeypatch.setattr("freehold.store.database.BUSY_S", 0.05)
    store = open_store(None, home)
    other = sqlite3.connect(home / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnusable, match="locked"):
        store.keys.create("a")
    assert store.keys.list() == []  # who only reads does not wait
    other.execute("ROLLBACK")
    other.close()
    store.close()


def test_a_failed_write_changes_nothing(home: Path) -> None:
    store = open_store(None, home)
    record, _ = store.keys.create("a")

    def fail() -> None:
        with store.database.write() as connection:
            connection.execute(sa.text("DELETE FROM keys"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.keys.list() == [record]
    store.close()


WORK = """
import sys
from pathlib import Path
from freehold.store import open_store

store = open_store(None, Path(sys.argv[1]))
for number in range(20):
    store.keys.create(f"{sys.argv[2]} {number}")
    store.usage.add("local", "m", prompt_tokens=1, completion_tokens=2)
    store.flush()
store.close()
"""


@pytest.fixture
def workers(home: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Four processes that open the same absent database at once and write to it."""
    started = [
        subprocess.Popen([sys.executable, "-c", WORK, str(home), name], stderr=subprocess.PIPE)
        for name in "abcd"
    ]
    yield started
    for process in started:
        process.kill()
        process.communicate()


def test_processes_that_open_and_write_at_once_lose_nothing(
    workers: list[subprocess.Popen[bytes]], home: Path
) -> None:
    for process in workers:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    store = open_store(None, home)
    assert len(store.keys.list()) == 80
    (total,) = store.usage.totals()
    assert (total.requests, total.prompt_tokens, total.completion_tokens) == (80, 80, 160)
    store.close()


def test_a_database_can_be_copied_after_close(home: Path, tmp_path: Path) -> None:
    store = open_store(None, home)
    record, secret = store.keys.create("a")
    store.close()
    (tmp_path / "copy").mkdir()
    shutil.copy(home / FILE_NAME, tmp_path / "copy" / FILE_NAME)
    copy = open_store(None, tmp_path / "copy")
    assert copy.keys.find(secret) == record
    copy.close()
