"""Without keys, a web page cannot use this machine's server through its visitor's browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.server.browsers import is_loopback
from freehold.server.context import House
from tests.server.asgi import ask
from tests.server.doorway import bearer, furnished, guarded

CHAT = "/v1/chat/completions"


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    settings = {
        "allowed_hosts": "Box.example, box2.example",
        "allowed_origins": "https://app.example, chrome-extension://abc",
    }
    built = furnished(home, settings)
    yield built
    built.store.close()


@pytest.mark.parametrize(
    "name",
    ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"],
)
def test_this_machine_is_loopback(name: str) -> None:
    assert is_loopback(name)
    assert is_loopback(f"[{name}]") == (":" in name or "127" in name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0.0.0.0",
        "::",
        "localhost.example",
        "notlocalhost",
        "127.0.0.1.example",
        "10.0.0.1",
        "127.1",
        "2130706433",
        "localhost:80",
    ],
)
def test_nothing_else_is_loopback(name: str) -> None:
    assert not is_loopback(name)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "[::1]",
        "box.example",
        "BOX2.EXAMPLE:99",
    ],
)
def test_a_host_that_means_this_machine_is_let_in(house: House, host: str) -> None:
    assert ask(guarded(house), CHAT, host=("host", host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "0.0.0.0:8000",
        "[::1",
        "[evil.example]:8000",
        "box.example.evil.example",
        "evil.example@127.0.0.1",
        "\xff\xfe",
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(house: House, host: str) -> None:
    reply = ask(guarded(house), CHAT, host=("host", host))
    assert reply.status == 403
    assert "allowed_hosts" in reply.json()["error"]["message"]


def test_an_absent_or_doubled_host_is_refused(house: House) -> None:
    app = guarded(house)
    assert ask(app, CHAT, host=None).status == 403
    assert ask(app, CHAT, [("host", "localhost")]).status == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:8000",
        "https://127.0.0.1:8000",
        "https://app.example",
        "HTTPS://APP.EXAMPLE",
        "chrome-extension://abc",
    ],
)
def test_own_and_named_pages_are_let_in(house: House, origin: str) -> None:
    assert ask(guarded(house), CHAT, [("origin", origin)], method="POST").status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "https://app.example:444",
        "http://127.0.0.1:9000",
        "http://localhost:8000",
        "null",
        "",
        "file://",
        "chrome-extension://xyz",
        "http://[::1",
        "http://127.0.0.1:8000@evil.example",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_origin_is_refused(house: House, origin: str, method: str) -> None:
    reply = ask(guarded(house), CHAT, [("origin", origin)], method=method)
    assert reply.status == 403
    assert "allowed_origins" in reply.json()["error"]["message"]


def test_a_second_origin_does_not_hide_the_first(house: House) -> None:
    headers = [("origin", "https://app.example"), ("origin", "https://evil.example")]
    assert ask(guarded(house), CHAT, headers).status == 403
    assert ask(guarded(house), CHAT, reversed(headers)).status == 403


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("cross-site", "no-cors", 403),
        ("same-site", "no-cors", 403),
        ("cross-site", None, 403),
        ("cross-site", "navigate", 200),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ],
)
def test_an_image_or_script_of_another_page_is_refused(
    house: House, site: str, mode: str | None, status: int
) -> None:
    headers = [("sec-fetch-site", site)] + ([("sec-fetch-mode", mode)] if mode else [])
    assert ask(guarded(house), "/v1/models", headers).status == status


def test_a_star_allows_every_origin(home: Path) -> None:
    house = furnished(home, {"allowed_origins": "*"})
    assert ask(guarded(house), CHAT, [("origin", "https://any.example")]).status == 200
    assert ask(guarded(house), CHAT, host=("host", "evil.example")).status == 403
    house.store.close()


def test_with_a_key_a_page_is_a_client_like_any_other(house: House) -> None:
    _, secret = house.store.keys.create("a")
    app = guarded(house)
    foreign = [("origin", "https://evil.example")]
    assert ask(app, CHAT, foreign, host=("host", "evil.example")).status == 401
    assert ask(app, CHAT, [*foreign, *bearer(secret)]).status == 200
