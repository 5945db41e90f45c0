"""Every route asks for a key that covers it; what is not in the doors' table is not there."""

from __future__ import annotations

import asyncio
import hmac
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from starlette.routing import BaseRoute
from starlette.types import Message

from freehold.errors import Unauthenticated
from freehold.server import keyring
from freehold.server.app import create_app
from freehold.server.context import House
from freehold.server.doors import OPEN_PATHS, ROUTE_SCOPES, Doors, scope_of, secret_in
from freehold.store import FILE_NAME, SCOPES
from tests.server.asgi import Reply, ask, asking, scope_for
from tests.server.doorway import bearer, echo, furnished, guarded

CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_UNKNOWN_S", 0.0)


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    built = furnished(home)
    yield built
    built.store.close()


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, dict[str, str]]]:
    """One house and a secret for each role: each scope alone, each scope's lack, and no good."""
    home = tmp_path_factory.mktemp("home") / "freehold"
    house = furnished(home)
    keys = house.store.keys
    secrets = {"wrong": "fh_" + "a" * 43, "revoked": keys.create("revoked", ["*"])[1]}
    keys.revoke("revoked")
    record, secrets["expired"] = keys.create("expired", ["*"], expires_at=time.time() + 60)
    with sqlite3.connect(home / FILE_NAME) as database:
        database.execute("UPDATE keys SET expires_at = 1 WHERE id = ?", (record.id,))
    database.close()
    named = set(SCOPES) - {"*"}
    for scope in SCOPES:
        secrets[scope] = keys.create(f"only {scope}", [scope])[1]
        secrets[f"not {scope}"] = keys.create(f"not {scope}", named - {scope})[1]
    yield house, secrets
    house.store.close()


# What each role gets on a route that needs a scope.
OUTCOMES = {
    "no key": 401,
    "wrong": 401,
    "revoked": 401,
    "expired": 401,
    "too few scopes": 403,
    "its scope": 200,
    "every scope": 200,
}


@pytest.mark.parametrize("role", OUTCOMES)
@pytest.mark.parametrize(
    ("path", "header"),
    [
        *((path, "authorization") for path in ROUTE_SCOPES),
        # The header is read before the path is.
        *(
            pytest.param(path, "x-api-key", marks=[] if path == CHAT else [pytest.mark.slow])
            for path in ROUTE_SCOPES
        ),
    ],
)
def test_each_route_and_each_role(
    roles: tuple[House, dict[str, str]], path: str, role: str, header: str
) -> None:
    house, secrets = roles
    needed = ROUTE_SCOPES[path]
    key = {"too few scopes": f"not {needed}", "its scope": needed, "every scope": "*"}
    secret = secrets.get(key.get(role, role))
    value = f"Bearer {secret}" if header == "authorization" else str(secret)
    headers = [] if secret is None else [(header, value)]
    app = guarded(house)
    for method in ("GET", "POST", "DELETE"):
        reply = ask(app, path, headers, method=method)
        assert reply.status == OUTCOMES[role], (method, reply.body)
        assert ("www-authenticate" in reply.headers) == (reply.status == 401)
    if role in ("its scope", "every scope"):
        assert ask(app, path, headers).json()["key_id"].startswith("key_")


def paths_of(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Every path of an app, hidden ones too, with its parameters filled in."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from paths_of(included.routes)
            continue
        path = getattr(route, "path", None)
        assert path is not None, f"{route!r} has no path that could be checked"
        yield path.replace("{", "").replace("}", "").replace(":path", "")


def test_every_route_of_the_app_is_in_the_table_or_open(house: House) -> None:
    app = create_app(house)
    paths = list(paths_of(app.routes))
    documented = {path.replace("{", "").replace("}", "") for path in app.openapi()["paths"]}
    assert documented <= set(paths), "the search misses routes"
    assert [path for path in paths if scope_of(path) is None and path not in OPEN_PATHS] == []


def test_every_route_of_the_app_is_behind_the_doors(house: House) -> None:
    house.store.keys.create("a")
    app = create_app(house)
    for path in set(paths_of(app.routes)) - OPEN_PATHS:
        for method in ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"):
            assert ask(app, path, method=method).status == 401, (method, path)


def test_no_route_is_open_that_says_more_than_a_word(house: House) -> None:
    house.store.keys.create("a")
    app = create_app(house)
    for path in OPEN_PATHS:
        reply = ask(app, path)
        assert reply.status in (200, 503)
        assert len(reply.body) < 40
        assert list(reply.json()) == ["status"]
        assert ask(app, path, method="POST").status == 401


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models",
        "/v1",
        "/v1/modelsx",
        "/v1/chat",
        "//v1/models",
        "/V1/models",
        "/v1/../metrics",
        "/admin2",
        "/docs",
        "/healthz/more",
        "/",
        "",
    ],
)
def test_what_is_not_in_the_table_is_not_there_for_any_key(house: House, path: str) -> None:
    _, secret = house.store.keys.create("all", ["*"])
    assert ask(guarded(house), path, bearer(secret)).status == 404
    assert ask(guarded(house), path).status == 401


def test_the_longest_prefix_of_whole_segments_decides() -> None:
    assert scope_of("/v1/models/org/name") == "read"
    assert scope_of("/v1/messages/count_tokens") == "generate"
    assert scope_of("/admin/models/unload") == "admin"
    assert scope_of("/v1/messagesx") is None


def test_the_table_knows_only_scopes_that_keys_can_have() -> None:
    assert set(ROUTE_SCOPES.values()) == set(SCOPES) - {"*"}


def tried(*headers: tuple[str, str]) -> str:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    try:
        return secret_in(pairs)
    except Unauthenticated as error:
        return error.message


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer SECRET")],
        [("authorization", "bearer SECRET")],
        [("authorization", "BEARER   SECRET ")],
        [("x-api-key", "SECRET")],
        [("x-api-key", " SECRET ")],
        [("x-api-key", "SECRET"), ("authorization", "Bearer SECRET")],
    ],
)
def test_both_headers_are_read_alike(headers: list[tuple[str, str]]) -> None:
    assert tried(*headers) == "SECRET"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([], "needs a key"),
        ([("x-api-key", "")], "needs a key"),
        ([("x-api-key", "  ")], "needs a key"),
        ([("authorization", "")], "not `Bearer KEY`"),
        ([("authorization", "Bearer")], "not `Bearer KEY`"),
        ([("authorization", "Bearer ")], "not `Bearer KEY`"),
        ([("authorization", "SECRET")], "not `Bearer KEY`"),
        ([("authorization", "Basic SECRET")], "not `Bearer KEY`"),
        ([("authorization", "Basic SECRET"), ("x-api-key", "SECRET")], "not `Bearer KEY`"),
        ([("authorization", "Bearer SECRET"), ("x-api-key", "OTHER")], "differ"),
        ([("authorization", "Bearer SECRET"), ("x-api-key", "")], "needs a key"),
        ([("authorization", "Bearer SECRET")] * 2, "several"),
        ([("x-api-key", "SECRET")] * 2, "several"),
        ([("x-api-key", "OTHER"), ("x-api-key", "SECRET")], "several"),
    ],
)
def test_doubtful_headers_are_refused(headers: list[tuple[str, str]], said: str) -> None:
    assert said in tried(*headers)
    assert "SECRET" not in tried(*headers)


def test_two_headers_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def same(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return True

    monkeypatch.setattr(hmac, "compare_digest", same)
    tried(("x-api-key", "a"), ("authorization", "Bearer b"))
    assert compared == [(b"a", b"b")]


@pytest.mark.parametrize("value", ["Bearer fh_\xff\xfe", "Bearer fh_" + "é" * 20, "Bearer \x00"])
def test_strange_bytes_are_a_wrong_key(house: House, value: str) -> None:
    house.store.keys.create("a")
    assert ask(guarded(house), CHAT, [("authorization", value)]).status == 401


def test_an_ended_key_is_told_apart_only_to_its_holder(
    roles: tuple[House, dict[str, str]],
) -> None:
    house, secrets = roles
    app = guarded(house)

    def said(role: str) -> str:
        return str(ask(app, CHAT, bearer(secrets[role])).json()["error"]["message"])

    assert "revoked" in said("revoked")
    assert "expired" in said("expired")
    assert "not known" in said("wrong")


def test_a_refusal_has_the_form_of_its_surface_and_no_secret(house: House) -> None:
    house.store.keys.create("a")
    app = guarded(house)
    headers = bearer("fh_wrong-secret")
    assert ask(app, CHAT, headers).json()["error"]["code"] == "invalid_api_key"
    anthropic = ask(app, "/v1/messages", headers).json()
    assert anthropic["type"] == "error"
    assert anthropic["error"]["type"] == "authentication_error"
    assert isinstance(ask(app, "/api/chat", headers).json()["error"], str)
    for path in (CHAT, "/v1/messages", "/api/chat"):
        assert b"wrong-secret" not in ask(app, path, headers).body


def test_without_keys_everybody_on_loopback_is_the_local_owner(house: House) -> None:
    app = guarded(house)
    for headers in ([], bearer("anything"), [("authorization", "Basic x")]):
        reply = ask(app, CHAT, headers)
        assert (reply.status, reply.json()["key_id"], reply.json()["scopes"]) == (
            200,
            "local",
            ["*"],
        )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org", "10.0.0.1"])
def test_without_keys_nobody_gets_in_from_elsewhere(home: Path, host: str) -> None:
    house = furnished(home, {"host": host})
    app = guarded(house)
    assert ask(app, CHAT).status == 401
    assert ask(app, CHAT, bearer("anything")).status == 401
    assert ask(app, "/healthz").status == 200
    _, secret = house.store.keys.create("a")
    assert ask(app, CHAT, bearer(secret)).status == 200
    house.store.close()


def test_the_first_key_closes_the_doors_and_its_end_does_not_open_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "FRESH_S", 0.0)
    app = guarded(house)
    assert ask(app, CHAT).status == 200
    record, secret = house.store.keys.create("a")
    assert ask(app, CHAT).status == 401
    assert ask(app, CHAT, bearer(secret)).status == 200
    house.store.keys.revoke(record.id)
    assert ask(app, CHAT, bearer(secret)).status == 401
    assert ask(app, CHAT).status == 401


def test_without_a_database_nobody_gets_in(house: House, home: Path) -> None:
    _, secret = house.store.keys.create("a")
    app = guarded(house)
    with house.store.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE keys")
    reply = ask(app, CHAT, bearer(secret))
    assert reply.status == 503
    assert str(home).encode() not in reply.body


def test_the_use_of_a_key_is_noted(house: House) -> None:
    record, secret = house.store.keys.create("a")
    ask(guarded(house), CHAT, bearer(secret))
    house.store.flush()
    (listed,) = house.store.keys.list()
    assert listed.id == record.id
    assert listed.last_used_at is not None


def test_a_refused_use_is_not_noted(house: House) -> None:
    _, secret = house.store.keys.create("a", ["embed"])
    assert ask(guarded(house), CHAT, bearer(secret)).status == 403
    house.store.flush()
    assert house.store.keys.list()[0].last_used_at is None


def test_the_asker_carries_the_request_id(house: House) -> None:
    reply = ask(guarded(house), CHAT, [("x-request-id", "mine-1")])
    assert reply.json()["id"] == "mine-1"


def test_a_web_socket_is_closed(house: House) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope = {**scope_for("/v1/models"), "type": "websocket"}
    asyncio.run(Doors(echo, house)(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_refused_requests_are_not_read(house: House) -> None:
    house.store.keys.create("a")

    async def refuse() -> Reply:
        return await asking(guarded(house, inside=unreachable), scope_for(CHAT, method="POST"))

    async def unreachable(*_: object) -> None:
        raise AssertionError

    assert asyncio.run(refuse()).status == 401
