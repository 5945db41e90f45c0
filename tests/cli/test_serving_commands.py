"""`freehold serve`, `ps` and `stop`, over a server with a scripted model."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from freehold.cli.remote import KEY_VARIABLE
from freehold.server.standing import announce
from freehold.store import open_store
from tests.cli.conftest import Run
from tests.server.scripted import MODEL
from tests.server.scripted_serving import Served, chat_body, served


@pytest.fixture
def server(home: Path) -> Iterator[Served]:
    with served(home) as server:
        yield server


PROXY = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}


def test_without_a_server_ps_and_stop_say_so_and_succeed(freehold: Run) -> None:
    for command in ("ps", "stop"):
        ran = freehold(command)
        assert ran.status == 0
        assert "no server runs for this home" in ran.err
    assert json.loads(freehold("stop", "--json").out) == {"stopped": False}
    assert freehold("ps", "--json").out == ""


def test_without_a_server_there_is_nothing_to_unload_from(freehold: Run) -> None:
    ran = freehold("stop", MODEL)
    assert ran.status == 2
    assert "freehold serve" in ran.err


def test_ps_shows_models_unloading_works_and_stop_waits_for_the_end(
    server: Served, freehold: Run
) -> None:
    ran = freehold("ps")
    assert ran.status == 0
    assert MODEL in ran.out
    assert server.url in ran.err
    (row,) = [json.loads(line) for line in freehold("ps", "--json").out.splitlines()]
    assert (row["model"], row["running"], row["server"]["url"]) == (MODEL, 0, server.url)
    assert json.loads(freehold("stop", MODEL, "--json").out) == {"unloaded": MODEL}
    unknown = freehold("stop", "nonesuch")
    assert unknown.status == 2
    assert "error[request.unknown_model]" in unknown.err
    # The process is this test's child, and waits for it as a zombie: gone for `stop`.
    assert json.loads(freehold("stop", "--json").out) == {"stopped": True}
    assert server.ended()[0] == 0


def test_a_server_with_keys_is_asked_by_no_proxy_and_with_the_key_of_the_environment(
    home: Path, freehold: Run
) -> None:
    store = open_store(None, home)
    _, reader = store.keys.create("reader", ["read"])
    store.close()
    with served(home):
        ran = freehold("ps")
        assert ran.status == 1
        assert "error[access.unauthenticated]" in ran.err
        assert KEY_VARIABLE in ran.err
        assert freehold("ps", env={KEY_VARIABLE: reader}).status == 0
        assert freehold("ps", env={KEY_VARIABLE: reader, **PROXY}).status == 0, "no proxy is asked"
        forbidden = freehold("stop", MODEL, env={KEY_VARIABLE: reader})
        assert "error[access.forbidden]" in forbidden.err
        assert reader not in forbidden.err


def test_ps_works_over_a_unix_socket(home: Path, tmp_path: Path, freehold: Run) -> None:
    with served(home, "--socket", str(tmp_path / "s")):
        assert MODEL in freehold("ps").out


def test_a_server_that_does_not_answer_is_said_so(home: Path, freehold: Run) -> None:
    announce(home, url="http://127.0.0.1:9", socket=None, version="0")
    ran = freehold("ps")
    assert ran.status == 2
    assert "does not answer" in ran.err


def test_stop_now_does_not_wait_for_streams(home: Path, freehold: Run) -> None:
    with served(home, piece_s=0.05) as server, server.client() as client:
        body = chat_body(10_000, stream=True)
        with client.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            assert freehold("stop", "--now").status == 0
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
        assert server.process.wait(30) != -signal.SIGKILL


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--port", "70000"),
        ("--kv-memory", "much"),
        ("--model-memory", "0"),
        ("--log-format", "xml"),
        ("--host", ""),
        ("--max-waiting", "0"),
    ],
)
def test_a_bad_flag_is_status_2(freehold: Run, flag: str, value: str) -> None:
    ran = freehold("serve", flag, value)
    assert ran.status == 2
    assert ran.err


def test_an_unknown_model_is_status_2_and_leaves_no_note(home: Path, freehold: Run) -> None:
    ran = freehold("serve", "nonesuch", "--port", "0")
    assert ran.status == 2
    assert "error[request.unknown_model]" in ran.err
    assert not (home / "serve.json").exists()
