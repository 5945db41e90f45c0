"""The keys in memory: read rarely, believed for two seconds, and a new one counts at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.server import keyring
from freehold.server.context import House
from tests.server.asgi import ask
from tests.server.doorway import bearer, furnished, guarded

CHAT = "/v1/chat/completions"


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    built = furnished(home)
    yield built
    built.store.close()


def test_a_revoked_key_ends_within_two_seconds(house: House) -> None:
    record, secret = house.store.keys.create("a")
    now = 100.0
    ring = keyring.Keyring(house.store.keys, clock=lambda: now)
    found = asyncio.run(ring.find(secret))
    assert found is not None
    house.store.keys.revoke(record.id)
    now += 1.9
    assert asyncio.run(ring.find(secret)) == found
    now += 0.2
    ended = asyncio.run(ring.find(secret))
    assert ended is not None
    assert ended.state(time.time()) == "revoked"


def test_a_new_key_counts_at_once(house: House) -> None:
    house.store.keys.create("first")
    app = guarded(house)
    assert ask(app, CHAT, bearer("fh_wrong")).status == 401
    _, secret = house.store.keys.create("second")
    assert ask(app, CHAT, bearer(secret)).status == 200


def test_wrong_secrets_share_few_readings(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.store.keys.create("a")
    read = house.store.keys.by_digest
    readings: list[float] = []

    def counting() -> object:
        readings.append(time.monotonic())
        return read()

    monkeypatch.setattr(house.store.keys, "by_digest", counting)
    ring = keyring.Keyring(house.store.keys)

    async def guess() -> None:
        await asyncio.gather(*(ring.find(f"fh_{number}") for number in range(500)))

    started = time.monotonic()
    asyncio.run(guess())
    assert len(readings) <= 2 + 5 * (time.monotonic() - started)


def test_known_keys_are_found_without_a_query_each(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = house.store.keys.create("a")
    app = guarded(house)
    ask(app, CHAT, bearer(secret))
    monkeypatch.setattr(house.store.keys, "by_digest", None)
    for _ in range(20):
        assert ask(app, CHAT, bearer(secret)).status == 200
