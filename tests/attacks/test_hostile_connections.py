"""Bytes that are no request, two requests in one, or never end: refused at no cost to others.

Sent over sockets, as no HTTP library would, to a server in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from freehold.server.bodies import Limits
from freehold.server.connections import HEAD_S
from tests.server.scripted import MODEL
from tests.server.scripted_serving import Served, served
from tests.waiting import PATIENCE_S

HOST = b"host: localhost\r\n"
JSON = HOST + b"content-type: application/json\r\n"
# Smuggled: whoever answers this has taken a body for a request.
VERSION = b"GET /version HTTP/1.1\r\n" + HOST + b"\r\n"
SECRET = b"Zebulon-4711"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home") / "freehold") as server:
        yield server


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that waits for nobody."""
    with served(tmp_path_factory.mktemp("hasty") / "freehold", head_s=1, body_s=1) as server:
        yield server


def connected(server: Served) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def answers(
    server: Served, *pieces: bytes, count: int = 1
) -> list[tuple[int, dict[str, str], bytes]]:
    """Every answer to these bytes: so many, and what else comes before the server falls silent."""
    with connected(server) as connection:
        for piece in pieces:
            with contextlib.suppress(ConnectionError):  # it has closed already
                connection.sendall(piece)
            time.sleep(0.05 if len(pieces) > 1 else 0)
        said = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := connection.recv(1 << 16):
                said += piece
                if len(list(parsed(said))) >= count:
                    connection.settimeout(0.3)
    return list(parsed(said))


def parsed(said: bytes) -> Iterator[tuple[int, dict[str, str], bytes]]:
    """The answers that are there whole."""
    while b"\r\n\r\n" in said:
        head, _, rest = said.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(rest) < size:
            return
        yield int(first.split()[1]), headers, rest[:size]
        said = rest[size:]


def post(headers: bytes, body: bytes, path: bytes = b"/v1/chat/completions") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + JSON + headers + b"\r\n" + body


AMBIGUOUS = {
    "both lengths": post(b"content-length: 5\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n"),
    "both lengths, the other way": post(
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n", b"0\r\n\r\n"
    ),
    "two lengths": post(b"content-length: 2\r\ncontent-length: 40\r\n", b"{}"),
    "a list of lengths": post(b"content-length: 2, 2\r\n", b"{}"),
    "a signed length": post(b"content-length: +2\r\n", b"{}"),
    "a negative length": post(b"content-length: -2\r\n", b"{}"),
    "a length in hexadecimal": post(b"content-length: 0x2\r\n", b"{}"),
    "an endless length": post(b"content-length: " + b"9" * 30 + b"\r\n", b"{}"),
    "another coding": post(b"transfer-encoding: xchunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    "chunked, but not last": post(
        b"transfer-encoding: chunked, identity\r\n", b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "a space before the colon": post(b"transfer-encoding : chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    "a folded header": post(b"transfer-encoding:\r\n chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    "a chunk of no size": post(b"transfer-encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk beyond all numbers": post(b"transfer-encoding: chunked\r\n", b"f" * 18 + b"\r\n{}"),
    "a signed chunk": post(b"transfer-encoding: chunked\r\n", b"+2\r\n{}\r\n0\r\n\r\n"),
    "lines without a return": b"GET /version HTTP/1.1\nhost: localhost\n\n",
    "lines without a feed": b"GET /version HTTP/1.1\rhost: localhost\r\r",
    "NUL in a header": b"GET /version HTTP/1.1\r\n" + HOST + b"x-a: a\0b\r\n\r\n",
    "NUL in the path": b"GET /ver\0sion HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the path": b"GET /ver sion HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path beyond ASCII": "GET /versión HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "a path without its slash": b"GET version HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an unknown method": b"FROB /version HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get /version HTTP/1.1\r\n" + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "a secret": SECRET + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_is_no_request_or_has_two_readings_is_a_400_and_the_end(
    server: Served, name: str
) -> None:
    (answer,) = answers(server, AMBIGUOUS[name] + VERSION)
    status, headers, body = answer
    assert status == 400
    assert headers["connection"] == "close"
    assert headers["x-request-id"].startswith("req_")
    assert json.loads(body)["error"]["code"] == "request.not_http"


@pytest.mark.parametrize(
    ("path", "form"), [(b"/v1/messages", "anthropic"), (b"/api/chat", "ollama")]
)
def test_it_has_the_form_of_the_surface_where_the_path_was_read(
    server: Served, path: bytes, form: str
) -> None:
    ((_, headers, body),) = answers(server, post(b"content-length: x\r\n", b"", path))
    error = json.loads(body)
    if form == "ollama":
        assert isinstance(error["error"], str)
    else:
        assert error["error"]["type"] == "invalid_request_error"
        assert error["request_id"] == headers["x-request-id"]


OFFERS = {
    "h2c": b"connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nhttp2-settings: AAMA\r\n",
    "websocket": b"connection: upgrade\r\nUPGRADE : websocket\r\n".replace(b" :", b":"),
}


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("whole", [True, False], ids=["in one piece", "body after head"])
def test_an_offer_to_upgrade_does_not_cost_the_body_its_reader(
    server: Served, offer: str, whole: bool
) -> None:
    body = b'{"messages": 1}'
    sent = post(OFFERS[offer] + b"content-length: %d\r\n" % len(body), body)
    head = sent.removesuffix(body)
    first, second = answers(server, *([sent] if whole else [head, body]), VERSION, count=2)
    assert (first[0], second[0]) == (400, 200)
    assert b"'model' is required" in first[2]


def test_a_body_after_an_upgrade_is_never_a_request(server: Served) -> None:
    # The offer is cut in two, so that the parser sees it.
    head = post(OFFERS["h2c"] + b"content-length: %d\r\n" % len(VERSION), b"")
    at = head.index(b"Upgrade:") + 3
    said = answers(server, head[:at], head[at:], VERSION, VERSION)
    assert [status for status, _, _ in said] == [400]
    assert said[0][1]["connection"] == "close"


FLOODS = {
    "many headers": VERSION[:-2] + b"".join(b"x-%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
    "a large header": VERSION[:-2] + b"x: " + b"y" * 300_000 + b"\r\n\r\n",
    "a large path": b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a large query": b"GET /version?" + b"a" * 300_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("name", FLOODS)
def test_too_large_a_head_is_a_431(server: Served, name: str) -> None:
    ((status, headers, body),) = answers(server, FLOODS[name])
    assert (status, headers["connection"]) == (431, "close")
    assert json.loads(body)["error"]["code"] == "request.too_large"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/v1/models/%2e%2e/%2e%2e/etc/passwd", 404),
        (b"/v1/models/../../metrics", 404),
        (b"/v1/../metrics", 404),
        (b"//v1/models", 404),
        (b"/v1//models", 404),
        (b"/v1/models%2f..%2f..%2fmetrics", 404),
        (b"/version%00", 404),
        (b"/version%0d%0ax: y", 400),
        (b"/%ff%fe", 404),
        (b"/v1/models/%00", 404),
        (b"/V1/models", 404),
        (b"/version;a=b", 404),
        (b"/version/", 404),
        (b"*", 404),
        (b"/" + b"a" * 30_000, 404),
        (b"/version?" + b"a" * 30_000, 200),
    ],
)
def test_paths_are_taken_as_they_are(server: Served, path: bytes, status: int) -> None:
    said = answers(server, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert [answer[0] for answer in said] == [status]
    assert "x-request-id" in said[0][1]


def test_methods_that_a_path_does_not_take_are_named(server: Served) -> None:
    with server.client() as client:
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            answer = client.request(method, "/v1/chat/completions")
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
        assert client.head("/v1/chat/completions").status_code == 405
        assert client.options("/v1/chat/completions").status_code == 204


def test_http_1_0_is_answered_and_closed(server: Served) -> None:
    ((status, headers, _),) = answers(server, b"GET /version HTTP/1.0\r\n" + HOST + b"\r\n")
    assert (status, headers["connection"]) == (200, "close")
    # Without a host nobody can tell a page's request from a person's.
    ((status, _, _),) = answers(server, b"GET /version HTTP/1.0\r\n\r\n")
    assert status == 403


def test_requests_in_a_row_are_answered_in_their_order(server: Served) -> None:
    said = answers(server, VERSION + post(b"content-length: 2\r\n", b"{}") + VERSION * 3, count=5)
    assert [status for status, _, _ in said] == [200, 400, 200, 200, 200]
    assert len({headers["x-request-id"] for _, headers, _ in said}) == 5


def test_nonsense_after_a_request_takes_nothing_from_its_answer(server: Served) -> None:
    said = answers(server, VERSION, b"nonsense\r\n\r\n", count=2)
    assert [status for status, _, _ in said] == [200, 400]


@pytest.mark.parametrize(
    "headers", [b"content-length: 100\r\n", b"transfer-encoding: chunked\r\n"], ids=str
)
def test_a_body_that_does_not_come_is_a_408(hasty: Served, headers: bytes) -> None:
    begun = time.monotonic()
    piece = b'{"a"' if b"length" in headers else b'4\r\n{"a"\r\n'
    with connected(hasty) as connection:
        connection.sendall(post(headers, piece))
        said = b""
        while piece := connection.recv(1 << 16):
            said += piece
    ((status, answered, _),) = parsed(said)
    assert (status, answered["connection"]) == (408, "close")
    assert time.monotonic() - begun < Limits.body_s


def test_a_body_that_drips_is_a_408(hasty: Served) -> None:
    with connected(hasty) as connection:
        connection.sendall(post(b"transfer-encoding: chunked\r\n", b""))
        connection.setblocking(False)
        begun, said = time.monotonic(), b""
        while not said and time.monotonic() - begun < Limits.body_s:
            connection.send(b"1\r\n \r\n")
            time.sleep(0.05)
            try:
                said = connection.recv(1 << 16)
            except BlockingIOError:
                continue
    assert said.startswith(b"HTTP/1.1 408 ")


def test_empty_lines_do_not_keep_a_connection(hasty: Served) -> None:
    with connected(hasty) as connection:
        connection.sendall(VERSION)
        answer = b""
        while not answer.endswith(b"}"):  # head and body may come apart
            answer += connection.recv(1 << 16)
        begun = time.monotonic()
        connection.sendall(b"\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - begun < HEAD_S


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_who_leaves_in_the_middle_of_a_body_leaves_nothing_behind(
    server: Served, reset: bool
) -> None:
    for _ in range(20):
        with connected(server) as connection:
            if reset:
                linger = b"\1\0\0\0\0\0\0\0"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(post(b"content-length: 1000\r\n", b'{"model": "' + SECRET))
    with server.client() as client:
        assert client.get("/health").status_code == 200


def test_who_leaves_with_a_request_in_the_queue_ends_the_answer_before_it_too(home: Path) -> None:
    with served(home, piece_s=0.05) as server:
        body = json.dumps(
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": "x"}],
                "max_tokens": 2000,
                "stream": True,
            }
        ).encode()
        long = post(b"content-length: %d\r\n" % len(body), body)
        with connected(server) as connection:
            connection.sendall(long + VERSION)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert server.process.stderr is not None
        line = json.loads(server.process.stderr.readline())
    assert line["route"] == "/v1/chat/completions"
    assert line["aborted"]
    assert line["seconds"] < PATIENCE_S, "by itself it takes 100 s"


def test_no_log_line_quotes_what_was_sent(home: Path) -> None:
    with served(home) as server:
        for sent in (*AMBIGUOUS.values(), *FLOODS.values()):
            answers(server, sent.replace(b"{}", SECRET))
        answers(server, post(b"x-" + SECRET + b": 1\r\ncontent-length: 2\r\n", b"{}"))
        server.process.terminate()
        _, log = server.process.communicate(timeout=PATIENCE_S)
    assert "refused with 400" in log
    assert SECRET.decode() not in log


def test_the_server_is_well_after_all_of_it(server: Served) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/health").json() == {"status": "ok"}
