"""The record only grows, and whatever is done to it behind our back is found and named."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from freehold.errors import BadReference, ChainBroken, StoreUnusable
from freehold.store import FILE_NAME, Event, Head, Store, open_store
from freehold.store.chain import GENESIS
from freehold.store.witness import FILE_NAME as WITNESS

WEIGHTS = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(None, home)
    yield opened
    opened.close()


def fill(store: Store, count: int = 5) -> list[Event]:
    return [
        store.events.append(
            kind="licence_accepted",
            subject=WEIGHTS,
            body={"by": f"ann{number}", "licence": "apache-2.0"},
        )
        for number in range(1, count + 1)
    ]


def tamper(home: Path, *statements: str) -> None:
    """What somebody does who has the file and knows SQL: the triggers go first."""
    with closing(sqlite3.connect(home / FILE_NAME)) as raw, raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            raw.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            raw.execute(statement)


def broken(store: Store) -> ChainBroken:
    with pytest.raises(ChainBroken) as caught:
        store.events.verify()
    return caught.value


def test_gives_back_what_was_appended(store: Store) -> None:
    body = {"name": "ü\0\ud800", "size_bytes": 2**40, "loss": 0.1 + 0.2, "none": None}
    event = store.events.append(kind="obtained", subject=WEIGHTS, body=body, parents=[OTHER])
    assert store.events.all() == (event,)
    assert (event.seq, event.kind, event.subject, event.parents) == (
        1,
        "obtained",
        WEIGHTS,
        (OTHER,),
    )
    assert event.body == body


def test_about_gives_one_subject_in_order(store: Store) -> None:
    first, second = fill(store, 2)
    store.events.append(kind="served", subject=OTHER, body={})
    assert store.events.about(WEIGHTS) == (first, second)
    assert store.events.about("sha256:" + "c" * 64) == ()


def test_an_intact_record_verifies_and_gives_its_head(store: Store) -> None:
    assert store.events.verify() == GENESIS == store.events.head()
    last = fill(store)[-1]
    assert store.events.verify() == Head(5, last.hash) == store.events.head()


def test_a_hash_can_be_recomputed_from_the_documented_line(store: Store) -> None:
    _, event = fill(store, 2)
    line = [
        event.seq,
        event.at,
        event.kind,
        event.subject,
        list(event.parents),
        event.body,
        event.previous,
    ]
    text = json.dumps(line, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == event.hash


@pytest.mark.parametrize(
    ("kind", "subject", "parents"),
    [
        ("Obtained", WEIGHTS, []),
        ("", WEIGHTS, []),
        ("obtained", "a" * 64, []),
        ("obtained", WEIGHTS + "\n", []),
        ("obtained", WEIGHTS, ["sha256:" + "A" * 64]),
    ],
)
def test_refuses_what_is_no_kind_or_digest(
    store: Store, kind: str, subject: str, parents: list[str]
) -> None:
    with pytest.raises(BadReference):
        store.events.append(kind=kind, subject=subject, body={}, parents=parents)
    assert store.events.all() == ()


def test_refuses_a_number_that_json_has_no_word_for(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.events.append(kind="quantized", subject=WEIGHTS, body={"loss": float("nan")})
    assert store.events.all() == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET body = '{}' WHERE seq = 1",
        "UPDATE events SET seq = 9 WHERE seq = 3",
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 2",
        "REPLACE INTO events VALUES (3, 'x', 'x', 'x', '[]', '{}', 'x', 'x')",
        "UPDATE event_head SET seq = 1",
        "UPDATE event_head SET hash = 'x'",
        "UPDATE event_head SET id = 2, seq = 9",
        "DELETE FROM event_head",
        "INSERT INTO event_head VALUES (2, 9, 'x')",
    ],
)
def test_the_database_itself_refuses_to_change_an_event(
    store: Store, home: Path, statement: str
) -> None:
    fill(store, 3)
    with (
        closing(sqlite3.connect(home / FILE_NAME)) as raw,
        pytest.raises(sqlite3.IntegrityError, match="can only grow"),
    ):
        raw.execute(statement)
    assert store.events.verify().seq == 3


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", "'2020-01-01T00:00:00.000000Z'"),
        ("kind", "'served'"),
        ("subject", f"'{OTHER}'"),
        ("parents", f"'[\"{OTHER}\"]'"),
        ("parents", "'[ ]'"),
        ("body", '\'{"by":"bob","licence":"apache-2.0"}\''),
        ("body", "body || ' '"),
        ("body", "x'ff'"),
        ("body", "CAST(x'7bff7d' AS TEXT)"),
        ("hash", f"'{'0' * 64}'"),
        ("hash", "5"),
        ("previous", f"'{'0' * 64}'"),
    ],
)
def test_a_changed_column_names_the_event(
    store: Store, home: Path, column: str, value: str
) -> None:
    fill(store)
    tamper(home, f"UPDATE events SET {column} = {value} WHERE seq = 3")
    error = broken(store)
    assert error.value == 3
    assert "event 3 was altered" in error.message


def test_an_altered_acceptance_is_named_by_who_and_when(store: Store, home: Path) -> None:
    event = fill(store)[2]
    tamper(home, "UPDATE events SET body = replace(body, 'apache', 'gemini') WHERE seq = 3")
    assert f"licence_accepted by ann3, {event.at}" in broken(store).message


def forged(store: Store, home: Path) -> str:
    """Event 3 with another body and the hash that fits it."""
    from freehold.store.chain import Row, hash_of

    event = store.events.all()[2]
    row = Row(
        seq=3,
        at=event.at,
        kind=event.kind,
        subject=event.subject,
        parents="[]",
        body='{"by":"bob"}',
        previous=event.previous,
    )
    return f"UPDATE events SET body = '{row.body}', hash = '{hash_of(row)}' WHERE seq = 3"


def test_an_event_with_a_hash_that_fits_breaks_the_link_after_it(store: Store, home: Path) -> None:
    fill(store)
    tamper(home, forged(store, home))
    error = broken(store)
    assert error.value == 4
    assert "event 4 does not follow the one before it" in error.message


def test_the_last_event_with_a_hash_that_fits_is_found_too(store: Store, home: Path) -> None:
    fill(store, 3)
    tamper(home, forged(store, home))
    assert "event 3 is not the one of the database's note" in broken(store).message


def test_a_missing_event_is_named(store: Store, home: Path) -> None:
    fill(store)
    tamper(home, "DELETE FROM events WHERE seq = 3")
    error = broken(store)
    assert error.value == 3
    assert error.message == "event 3 is missing from the record"


def test_missing_events_at_the_start_are_named(store: Store, home: Path) -> None:
    fill(store)
    tamper(home, "DELETE FROM events WHERE seq < 3")
    assert broken(store).message == "events 1 to 2 are missing from the record"


def test_a_missing_last_event_is_named(store: Store, home: Path) -> None:
    fill(store)
    tamper(home, "DELETE FROM events WHERE seq = 5")
    assert broken(store).message.startswith("event 5 is missing from the end of the record")


def test_several_missing_at_the_end_are_named_though_the_head_was_set_back(
    store: Store, home: Path
) -> None:
    events = fill(store)
    tamper(
        home,
        "DELETE FROM events WHERE seq > 2",
        f"UPDATE event_head SET seq = 2, hash = '{events[1].hash}'",
    )
    error = broken(store)
    assert error.message.startswith("events 3 to 5 are missing from the end of the record")
    assert "this home's note" in error.message


def test_events_that_changed_places_are_named(store: Store, home: Path) -> None:
    fill(store)
    tamper(
        home,
        "UPDATE events SET seq = -2 WHERE seq = 2",
        "UPDATE events SET seq = 2 WHERE seq = 4",
        "UPDATE events SET seq = 4 WHERE seq = -2",
    )
    error = broken(store)
    assert error.value == 2
    assert "event 2 was altered" in error.message


def test_a_head_that_is_gone_is_named(store: Store, home: Path) -> None:
    fill(store)
    tamper(home, "DELETE FROM event_head")
    assert "note of the last event is gone" in broken(store).message


def rewritten(home: Path) -> None:
    """The same number of events, all computed anew: what a forger with the file can do at best."""
    other = home.parent / "other"
    fresh = open_store(None, other)
    for number in range(5):
        fresh.events.append(kind="served", subject=OTHER, body={"number": number})
    fresh.close()
    for path in home.glob(FILE_NAME + "*"):
        path.unlink()
    (other / FILE_NAME).rename(home / FILE_NAME)


def test_a_record_written_anew_contradicts_the_note_in_the_home(home: Path) -> None:
    store = open_store(None, home)
    fill(store)
    store.close()
    rewritten(home)
    store = open_store(None, home)
    assert "the record was written anew: event 5" in broken(store).message
    store.close()


def test_only_a_head_kept_elsewhere_finds_a_whole_home_written_anew(home: Path) -> None:
    store = open_store(None, home)
    anchor = Head(2, fill(store)[1].hash)
    store.close()
    rewritten(home)
    (home / WITNESS).unlink()
    store = open_store(None, home)
    assert store.events.verify().seq == 5
    with pytest.raises(ChainBroken, match="not the one of the head that was kept elsewhere"):
        store.events.verify(anchor)
    store.close()


def test_a_head_kept_elsewhere_stays_good_while_the_record_grows(store: Store) -> None:
    anchor = Head.parse(str(Head(2, fill(store)[1].hash)))
    fill(store)
    assert store.events.verify(anchor).seq == 10
    with pytest.raises(ChainBroken, match="missing from the end"):
        store.events.verify(Head(11, "0" * 64))


@pytest.mark.parametrize("text", ["", "5", "5:", "x:" + "0" * 64, "5:" + "g" * 64, "٥:" + "0" * 64])
def test_refuses_what_is_no_head(text: str) -> None:
    with pytest.raises(BadReference, match="no head"):
        Head.parse(text)


def test_damage_stays_visible_while_the_record_grows(store: Store, home: Path) -> None:
    fill(store)
    tamper(home, "DELETE FROM events WHERE seq = 5")
    assert store.events.append(kind="served", subject=WEIGHTS, body={}).seq == 6
    assert broken(store).message == "event 5 is missing from the record"


def test_a_note_that_cannot_be_read_is_named_and_left(store: Store, home: Path) -> None:
    fill(store)
    (home / WITNESS).write_text("{")
    fill(store)
    assert "cannot be read" in broken(store).message
    assert (home / WITNESS).read_text() == "{"


def each_byte(data: bytes, start: int, length: int) -> Iterator[bytes]:
    for place in range(start, start + length, 7):
        yield data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def test_a_byte_of_an_event_in_the_file_cannot_change_unnoticed(home: Path) -> None:
    store = open_store(None, home)
    event = fill(store, 3)[1]
    store.close()
    path = home / FILE_NAME
    intact = path.read_bytes()
    record = (
        event.at.encode()
        + b"licence_accepted"
        + event.subject.encode()
        + b"[]"
        + json.dumps(dict(event.body), sort_keys=True, separators=(",", ":")).encode()
        + event.previous.encode()
        + event.hash.encode()
    )
    assert intact.count(record) == 1
    for damaged in each_byte(intact, intact.index(record), len(record)):
        path.write_bytes(damaged)
        store = open_store(None, home)
        assert broken(store).value == 2
        store.close()
    path.write_bytes(intact)
    store = open_store(None, home)
    assert store.events.verify().seq == 3
    store.close()


APPEND = """
import sys
from pathlib import Path
from freehold.store import open_store
store = open_store(None, Path(sys.argv[1]))
for number in range(15):
    store.events.append(kind="served", subject="sha256:" + sys.argv[2] * 64, body={"n": number})
store.close()
"""


def test_two_processes_make_one_chain(store: Store, home: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", APPEND, str(home), name]) for name in ("a", "b")
    ]
    assert [process.wait() for process in running] == [0, 0]
    assert store.events.verify().seq == 30
    for name in ("a", "b"):
        own = store.events.about("sha256:" + name * 64)
        assert [event.body["n"] for event in own] == list(range(15))


def test_an_append_that_fails_leaves_nothing(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 2)
    with closing(sqlite3.connect(home / FILE_NAME)) as raw, raw:
        raw.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON event_head"
            " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    with pytest.raises(StoreUnusable):
        store.events.append(kind="served", subject=WEIGHTS, body={})
    with closing(sqlite3.connect(home / FILE_NAME)) as raw, raw:
        raw.execute("DROP TRIGGER full")
    assert store.events.verify().seq == 2
