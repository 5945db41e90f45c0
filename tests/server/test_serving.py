"""A server's life: it listens, says what runs, refuses what is unsafe, and ends in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from freehold.config import resolve_settings
from freehold.errors import BadSetting, SetupError
from freehold.server.connections import HEAD_S
from freehold.server.listening import listen_at, listen_on
from freehold.server.serving import serve
from freehold.server.standing import Standing, announce, process_birth, standing_server, withdraw
from freehold.store import open_store
from tests.server.scripted import MODEL
from tests.server.scripted_serving import BUG, Served, begin, chat_body, served
from tests.waiting import PATIENCE_S, soon


def failed(home: Path, *args: str, **script: float) -> tuple[int, str]:
    """The exit status and the words of a server that does not start."""
    with begin(home, *args, **script) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, err


def signalled(server: Served, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    server.process.send_signal(number)
    return server.ended()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the tests that do not end theirs."""
    with served(tmp_path_factory.mktemp("shared"), piece_s=0.01, head_s=1) as server:
        yield server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_starts_answers_and_ends_with_status_0(home: Path, number: signal.Signals) -> None:
    with served(home) as server, server.client() as client:
        assert server.started["event"] == "started"
        assert server.started["models"][0]["model"] == MODEL
        assert client.get("/health").json() == {"status": "ok"}
        answer = client.post("/v1/chat/completions", json=chat_body(3))
        assert answer.json()["choices"][0]["message"]["content"] == "0 1 2 "
        assert "server" not in answer.headers
        status, err = signalled(server, number)
    assert status == 0
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["request"]
    assert not (home / "serve.json").exists()


def test_the_line_of_the_start_says_what_runs_and_where(home: Path) -> None:
    with begin(home, "--log-format", "text") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.kill()
    assert line.startswith("freehold ")
    for word in (MODEL, "http://127.0.0.1:", "context 2048", "threads", "no key needed"):
        assert word in line


def test_the_note_of_a_server_is_its_owners_alone(shared: Served) -> None:
    note = shared.home / "serve.json"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    standing = standing_server(shared.home)
    assert standing is not None
    assert (standing.pid, standing.url) == (shared.process.pid, shared.url)


def test_health_is_503_while_models_load(home: Path) -> None:
    with begin(home, load_s=600) as process:
        try:
            soon(lambda: standing_server(home), "the server")
            standing = standing_server(home)
            assert standing is not None
            answer = httpx.get(standing.url + "/health", timeout=PATIENCE_S)
            assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
        finally:
            process.kill()


def test_a_model_that_does_not_load_ends_the_server(home: Path) -> None:
    status, err = failed(home, fails=1)
    assert status == 1
    assert "error[load]" in err
    assert not (home / "serve.json").exists()


def test_a_port_in_use_is_said_so(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BadSetting, match=f"port {port} .* in use"):
            serve(resolve_settings({"port": port}))


def test_an_open_address_without_a_key_is_refused(home: Path) -> None:
    with pytest.raises(BadSetting, match="freehold keys create"):
        serve(resolve_settings({"host": "0.0.0.0", "port": 0}))


def test_a_revoked_key_opens_no_address(home: Path) -> None:
    store = open_store(None, home)
    record, _ = store.keys.create("gone")
    store.keys.revoke(record.id)
    store.close()
    with pytest.raises(BadSetting, match="freehold keys create"):
        serve(resolve_settings({"host": "0.0.0.0", "port": 0}))


def test_an_open_address_with_a_key_asks_for_it(home: Path) -> None:
    store = open_store(None, home)
    _, secret = store.keys.create("first")
    store.close()
    with served(home, "--host", "0.0.0.0") as server, server.client() as client:
        assert server.started["needs_key"] is True
        assert server.url.startswith("http://127.0.0.1:")
        assert client.get("/v1/models").status_code == 401
        key = {"x-api-key": secret}
        assert client.get("/v1/models", headers=key).status_code == 200
        assert client.get("/health").status_code == 200


def test_a_home_has_one_server(home: Path) -> None:
    announce(home, url="http://here", socket=None, version="0")
    with pytest.raises(SetupError, match="http://here"):
        serve(resolve_settings({"port": 0}))
    assert standing_server(home) is not None


def test_a_note_of_an_ended_process_is_no_server(home: Path) -> None:
    with served(home) as server:
        server.process.kill()
        server.process.wait()
        assert (home / "serve.json").exists()
        assert standing_server(home) is None
    with served(home):
        assert standing_server(home) is not None


def test_a_note_of_another_process_with_the_same_number_is_no_server(home: Path) -> None:
    standing = announce(home, url="http://x", socket=None, version="0")
    assert standing_server(home) == standing
    changed = {**vars(standing), "birth": standing.birth - 1}
    (home / "serve.json").write_text(json.dumps(changed))
    assert standing_server(home) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x"}', "null"])
def test_a_damaged_note_is_no_server(home: Path, text: str) -> None:
    home.mkdir(parents=True)
    (home / "serve.json").write_text(text)
    assert standing_server(home) is None


def test_only_its_own_note_is_withdrawn(home: Path) -> None:
    announce(home, url="http://x", socket=None, version="0")
    other = Standing(pid=1, birth=0, url="", socket=None, started=0, version="")
    (home / "serve.json").write_text(json.dumps(vars(other)))
    withdraw(home)
    assert (home / "serve.json").exists()


def test_a_process_has_a_birth_until_it_is_gone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process_birth(process.pid) == process_birth(process.pid) is not None
        process.kill()
        # Not yet waited for, it is a zombie, and a zombie is gone.
        soon(lambda: process_birth(process.pid) is None)


def test_a_stream_goes_to_its_end_while_new_requests_are_turned_away(home: Path) -> None:
    with served(home, held=1, piece_s=0.01) as server, server.client() as client:
        body = chat_body(40, stream=True)
        with client.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            server.draining()
            with server.client() as other:
                turned_away = other.post("/v1/chat/completions", json=chat_body())
            assert turned_away.status_code == 503
            assert int(turned_away.headers["retry-after"]) > 0
            assert turned_away.json()["error"]["code"] == "capacity.draining"
            (home / "go-on").touch()
            rest = list(lines)
        assert "data: [DONE]" in rest
        assert any('"39 "' in line for line in rest)
        assert server.ended()[0] == 0


def test_a_stream_that_takes_too_long_ends_with_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREEHOLD_DRAIN_S", "0.3")
    with served(home, piece_s=0.06) as server, server.client() as client:
        body = chat_body(1000, stream=True)
        with client.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert "capacity.draining" in rest[-1] or "capacity.draining" in rest[-2]
        assert server.ended()[0] == 0
        # The whole answer would take a minute.
        assert time.monotonic() - begun < 30


def test_a_second_signal_ends_at_once(home: Path) -> None:
    with served(home, piece_s=0.05) as server, server.client() as client:
        body = chat_body(10_000, stream=True)
        with client.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()  # kept: without it, httpx would leave
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            server.draining()
            server.process.send_signal(signal.SIGTERM)
            # The answer would take eight minutes.
            server.process.wait(PATIENCE_S)
        assert not (home / "serve.json").exists()


def test_nothing_writes_down_an_unforeseen_errors_words(home: Path) -> None:
    with served(home) as server, server.client() as client:
        apology = client.post("/v1/chat/completions", json=chat_body(text=BUG))
        assert (apology.status_code, apology.headers["connection"]) == (500, "close")
        assert client.post("/v1/chat/completions", json=chat_body()).status_code == 200
        status, err = signalled(server)
    assert status == 0
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert events == ["bug", "request", "request"]
    assert BUG not in err


def test_slow_headers_end_the_connection(shared: Served) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    begun_head = b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-slow: "
    for sent, said in ((b"", b""), (begun_head, b"HTTP/1.1 408 ")):
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            connection.sendall(sent)
            begun = time.monotonic()
            assert connection.recv(13) == said
            while connection.recv(1000):
                pass
            # Here a head may take a second, elsewhere fifteen.
            assert time.monotonic() - begun < HEAD_S


def test_large_headers_end_the_connection(shared: Served) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        head = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(5000))
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + head)
        assert connection.recv(13) == b"HTTP/1.1 431 "
        while connection.recv(1000):
            pass
    with shared.client() as client:
        assert client.get("/health").status_code == 200


def test_a_body_that_is_refused_holds_no_connection(shared: Served) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    head = b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n{"
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(head)
        said = b""
        while piece := connection.recv(10_000):
            said += piece
    # The announced length is over the limit, so nobody waits for the rest.
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in said


def test_a_unix_socket_is_its_owners_alone(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "freehold.sock"
    with served(home, "--socket", str(path)) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            assert client.get("/v1/models").status_code == 200
        assert signalled(server)[0] == 0
    assert not path.exists()


def test_a_socket_left_behind_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    abandoned = socket.socket(socket.AF_UNIX)
    abandoned.bind(str(path))
    abandoned.close()
    first = listen_on(path)
    with pytest.raises(BadSetting, match="cannot listen"):
        listen_on(path)
    first.close()
    path.write_text("a file of somebody")
    with pytest.raises(BadSetting):
        listen_on(path)
    assert path.read_text() == "a file of somebody"


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 70])
def test_an_address_of_elsewhere_is_refused(host: str) -> None:
    with pytest.raises(BadSetting, match="listen"):
        listen_at(host, 0)


def test_localhost_is_every_loopback_address_at_one_port() -> None:
    listening = listen_at("localhost", 0)
    try:
        assert len({each.getsockname()[1] for each in listening.sockets}) == 1
    finally:
        listening.close()


def test_many_connections_do_not_stop_the_server(shared: Served) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(200)]
    try:
        with shared.client() as client:
            assert client.get("/health").status_code == 200
    finally:
        for each in idle:
            each.close()


def test_streams_and_requests_share_the_server(shared: Served) -> None:
    texts: list[str] = []

    def ask() -> None:
        with shared.client() as client:
            answer = client.post("/v1/chat/completions", json=chat_body(20)).json()
            texts.append(answer["choices"][0]["message"]["content"])

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(texts) == 16
    assert len(set(texts)) == 1


def test_the_port_of_the_settings_is_free_of_other_servers_habits() -> None:
    taken = {11434, 8080, 9931, 8000, 30000, 1234, 9997, 1337, 4891, 8888, 8321, 4000}
    port = resolve_settings(environment={}).port
    assert port not in taken
    assert 1024 < port < 32768, "below the ports that systems hand out"
    assert os.environ.get("FREEHOLD_PORT") is None
