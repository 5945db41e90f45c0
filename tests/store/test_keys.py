"""Keys: secrets are never stored, and a key is good for what it was made for, until it ends."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import BadSetting, NotFound
from freehold.store import (
    DEFAULT_SCOPES,
    FILE_NAME,
    SCOPES,
    Keys,
    Limits,
    Store,
    find_among,
    open_store,
)


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(None, home)
    yield opened
    opened.close()


@pytest.fixture
def keys(store: Store) -> Keys:
    return store.keys


def test_a_secret_has_256_random_bits(keys: Keys) -> None:
    secrets = {keys.create(f"key {number}")[1] for number in range(20)}
    assert len(secrets) == 20
    # 43 characters of base64 carry 258 bits.
    assert all(re.fullmatch(r"fh_[A-Za-z0-9_-]{43}", secret) for secret in secrets)


def test_the_database_holds_neither_the_secret_nor_most_of_it(store: Store, home: Path) -> None:
    record, secret = store.keys.create("a")
    store.close()
    stored = b"".join(path.read_bytes() for path in home.iterdir())
    assert record.prefix.encode() in stored
    assert secret.encode() not in stored
    assert secret[3:20].encode() not in stored
    assert secret.startswith(record.prefix)
    assert len(record.prefix) <= 9


def test_a_record_does_not_show_its_digest(keys: Keys) -> None:
    record, secret = keys.create("a")
    assert record.digest not in repr(record)
    assert secret not in repr(record)


def test_finds_a_key_by_its_secret_only(keys: Keys) -> None:
    record, secret = keys.create("a", ["read"], Limits(concurrent=2))
    keys.create("b")
    assert keys.find(secret) == record
    for wrong in (secret[:-1], secret + "x", record.prefix, record.id, record.digest, "", "fh_"):
        assert keys.find(wrong) is None


@pytest.mark.parametrize(
    "wrong", ["", "fh_", "fh_" + "a" * 43, "x" * 1000, "fh_" + "a" * 100_000, "fh_\udcff", "fh_\0"]
)
def test_no_secret_is_found_that_was_not_made(keys: Keys, wrong: str) -> None:
    keys.create("a")
    assert find_among(keys.by_digest(), wrong) is None
    assert keys.find(wrong) is None


def test_the_last_word_has_a_comparison_in_constant_time(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, secret = keys.create("a")
    compared: list[tuple[str, str]] = []

    def refuses(a: str, b: str) -> bool:
        compared.append((a, b))
        return False

    monkeypatch.setattr(hmac, "compare_digest", refuses)
    assert find_among({record.digest: record}, secret) is None
    assert compared == [(record.digest, record.digest)]


def test_a_new_key_may_do_what_clients_need_and_no_more(keys: Keys) -> None:
    record, _ = keys.create("a")
    assert record.scopes == set(DEFAULT_SCOPES) == {"generate", "embed", "read"}
    assert set(DEFAULT_SCOPES) <= SCOPES.keys()


def test_a_revoked_key_is_not_found_but_listed(keys: Keys) -> None:
    record, secret = keys.create("a")
    revoked = keys.revoke(record.id)
    assert keys.find(secret) is None
    assert keys.list() == [revoked]
    assert revoked.state(time.time()) == "revoked"
    assert find_among(keys.by_digest(), secret) == revoked


def test_a_key_is_revoked_once(keys: Keys) -> None:
    record, _ = keys.create("a")
    assert keys.revoke(record.id) == keys.revoke(record.id)


def test_a_name_means_the_key_that_has_it_now(keys: Keys) -> None:
    first, _ = keys.create("laptop")
    keys.revoke("laptop")
    second, secret = keys.create("laptop")
    assert keys.find(secret) == second
    assert keys.revoke("laptop").id == second.id != first.id
    with pytest.raises(NotFound):
        keys.revoke("laptop")


def test_an_unknown_key_cannot_be_revoked(keys: Keys) -> None:
    with pytest.raises(NotFound, match="nonesuch"):
        keys.revoke("nonesuch")


def test_an_expired_key_is_not_found_but_listed(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    record, secret = keys.create("a", expires_at=now + 100)
    assert keys.find(secret) == record
    monkeypatch.setattr(time, "time", lambda: now + 101)
    assert keys.find(secret) is None
    assert [key.state(now + 101) for key in keys.list()] == ["expired"]


@pytest.mark.parametrize(
    ("name", "scopes", "limits", "expires_in_s"),
    [
        ("", ["read"], Limits(), None),
        (" a", ["read"], Limits(), None),
        ("a\nb", ["read"], Limits(), None),
        ("a" * 101, ["read"], Limits(), None),
        ("key_0123", ["read"], Limits(), None),
        ("taken", ["read"], Limits(), None),
        ("a", ["write"], Limits(), None),
        ("a", [], Limits(), None),
        ("a", ["read"], Limits(requests_per_minute=0), None),
        ("a", ["read"], Limits(tokens_per_minute=-1), None),
        ("a", ["read"], Limits(concurrent=2**31), None),
        ("a", ["read"], Limits(), -1),
        ("a", ["read"], Limits(), float("nan")),
        ("a", ["read"], Limits(), float("inf")),
    ],
)
def test_refuses_a_key_that_makes_no_sense(
    keys: Keys, name: str, scopes: list[str], limits: Limits, expires_in_s: float | None
) -> None:
    keys.create("taken")
    expires_at = None if expires_in_s is None else time.time() + expires_in_s
    with pytest.raises(BadSetting):
        keys.create(name, scopes, limits, expires_at=expires_at)
    assert len(keys.list()) == 1


def test_the_last_use_is_written_at_most_once_a_minute(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = keys.create("a")
    now = time.time()

    def used_at(seconds: float) -> float | None:
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        keys.used(record.id)
        keys.flush()
        return keys.list()[0].last_used_at

    assert used_at(1) == now + 1
    assert used_at(59) == now + 1
    assert used_at(62) == now + 62


def test_an_older_last_use_of_another_process_changes_nothing(store: Store, home: Path) -> None:
    record, _ = store.keys.create("a")
    other = open_store(None, home)
    other.keys.used(record.id)
    time.sleep(0.01)
    store.keys.used(record.id)
    store.keys.flush()
    last = store.keys.list()[0].last_used_at
    other.keys.flush()
    assert store.keys.list()[0].last_used_at == last
    other.close()


def test_a_use_is_written_when_the_store_closes(store: Store, home: Path) -> None:
    record, _ = store.keys.create("a")
    store.keys.used(record.id)
    store.close()
    again = open_store(None, home)
    assert again.keys.list()[0].last_used_at is not None
    again.close()


def test_another_process_sees_a_new_key_and_its_end(store: Store, home: Path) -> None:
    other = open_store(None, home)
    record, secret = store.keys.create("a")
    assert other.keys.find(secret) == record
    other.keys.revoke(record.id)
    assert store.keys.find(secret) is None
    other.close()
    assert (home / FILE_NAME).is_file()
