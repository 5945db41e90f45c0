"""Conversations that are none, clients that leave and queues that are full, over every surface."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.attacks.surfaces import CHATTING, GENERATING, SECRET, SURFACES, USER, post, refused
from tests.server.live import LiveServer, living
from tests.waiting import PATIENCE_S, soon

pytestmark = [pytest.mark.weights, pytest.mark.usefixtures("no_prompt_in_the_log")]

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": SECRET}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "u1", "name": "f", "input": {}}]}
USE_RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "u1"}]}
OLLAMA_CALL = {"function": {"name": "f", "arguments": {}}}

WRONG_ORDER: dict[str, dict[str, list[Any]]] = {
    "/v1/chat/completions": {
        "nothing": [],
        "an unknown role": [{"role": "wizard", "content": SECRET}],
        "no role": [{"content": SECRET}],
        "a result of no call": [USER, RESULT],
        "a result after an answer": [USER, CALLED, USER, RESULT],
        "a call without a result": [USER, CALLED, USER],
        "a result twice": [USER, CALLED, RESULT, RESULT],
        "two calls of one id": [USER, {**CALLED, "tool_calls": [CALL, CALL]}, RESULT],
        "no calls and no text": [USER, {**CALLED, "tool_calls": []}, USER],
        "calls of a user": [{**USER, "tool_calls": [CALL]}],
        "no content": [{"role": "user"}],
        "arguments that are no object": [
            USER,
            {**CALLED, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": SECRET}}]},
            RESULT,
        ],
    },
    "/v1/messages": {
        "nothing": [],
        "an unknown role": [{"role": "tool", "content": SECRET}],
        "a result of no call": [USER, USE_RESULT],
        "a call without a result": [USER, USE, USER],
        "a call of a user": [{**USE, "role": "user"}],
        "a result of the assistant": [USER, USE, {**USE_RESULT, "role": "assistant"}],
    },
    "/api/chat": {
        "an unknown role": [{"role": "wizard", "content": SECRET}],
        "a result of no call": [{"role": "tool", "content": SECRET}],
        "a result after an answer": [
            USER,
            {"role": "assistant", "tool_calls": [OLLAMA_CALL]},
            USER,
            {"role": "tool", "content": SECRET},
        ],
    },
}


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, cases in WRONG_ORDER.items() for name in cases]
)
def test_messages_in_a_wrong_order_are_refused_by_their_place(
    client: httpx.Client, live_server: LiveServer, path: str, name: str
) -> None:
    body = {**SURFACES[path].body, "messages": WRONG_ORDER[path][name]}
    assert "messages" in refused(post(client, live_server, path, body))


@pytest.mark.parametrize("path", CHATTING)
def test_a_system_message_in_the_middle_is_rendered_where_the_template_has_it(
    client: httpx.Client, live_server: LiveServer, path: str
) -> None:
    answered = [
        post(client, live_server, path, {**SURFACES[path].body, "messages": messages})
        for messages in ([USER, USER], [USER, {"role": "system", "content": "Shout."}, USER])
    ]
    assert [answer.status_code for answer in answered] == [200, 200]
    short, long = (prompt_tokens(answer.json()) for answer in answered)
    assert long > short


def prompt_tokens(body: dict[str, Any]) -> int:
    usage = body.get("usage", body)
    names = ("prompt_tokens", "input_tokens", "prompt_eval_count")
    # Anthropic counts apart what was found in the cache.
    found = int(usage.get("cache_read_input_tokens") or 0)
    return found + next(int(usage[name]) for name in names if name in usage)


NO_CALLS: list[dict[str, Any]] = [{}, {"tool_calls": []}]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
def test_an_empty_list_of_calls_is_no_call(
    client: httpx.Client, live_server: LiveServer, path: str
) -> None:
    said = {"role": "assistant", "content": "Yes."}
    bodies = [{**SURFACES[path].body, "messages": [USER, said | more, USER]} for more in NO_CALLS]
    plain, empty = (post(client, live_server, path, body).json() for body in bodies)
    assert prompt_tokens(plain) == prompt_tokens(empty)


def part(**fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [fields]}]


# What may be shown, by the address of a picture.
SHOWN: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    (
        "/v1/chat/completions",
        lambda url: {"messages": part(type="image_url", image_url={"url": url})},
    ),
    (
        "/v1/chat/completions",
        lambda _: {"messages": part(type="input_audio", input_audio={"data": "AA", "format": "x"})},
    ),
    ("/v1/chat/completions", lambda _: {"messages": part(type="file", file={"file_id": SECRET})}),
    ("/v1/responses", lambda url: {"input": part(type="input_image", image_url=url)}),
    ("/v1/responses", lambda url: {"input": part(type="input_file", file_url=url)}),
    (
        "/v1/messages",
        lambda url: {"messages": part(type="image", source={"type": "url", "url": url})},
    ),
    (
        "/v1/messages",
        lambda _: {"messages": part(type="document", source={"type": "text", "data": SECRET})},
    ),
    ("/api/chat", lambda _: {"messages": [{**USER, "images": ["AAAA"]}]}),
    ("/api/generate", lambda _: {"images": ["AAAA"]}),
]


@pytest.fixture(scope="module")
def listening() -> Iterator[socket.socket]:
    """Where a server that fetched what it is shown would be seen."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield opened


@pytest.mark.parametrize(("path", "change"), SHOWN)
def test_what_is_no_text_is_refused_and_nothing_is_fetched(
    client: httpx.Client,
    live_server: LiveServer,
    listening: socket.socket,
    path: str,
    change: Callable[[str], dict[str, Any]],
) -> None:
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/{SECRET}"
    refused(post(client, live_server, path, {**SURFACES[path].body, **change(url)}))
    assert not select.select([listening], [], [], 0)[0], "the picture was asked for"


LIMIT_TOKENS = 1500


def reading(client: httpx.Client, name: str, **labels: str) -> int:
    """A sum over the series of `/metrics` with this name and these labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return int(sum(s.value for s in samples if labels.items() <= s.labels.items()))


def at_work(client: httpx.Client) -> int:
    names = ("freehold_sequences_running", "freehold_sequences_waiting")
    return sum(reading(client, name) for name in names)


def counts(client: httpx.Client, path: str) -> tuple[int, int, int]:
    """Requests of this path that have ended, choices that clients left, tokens written."""
    return (
        reading(client, "freehold_http_requests_total", route=path),
        reading(client, "freehold_requests_finished_total", reason="cancelled"),
        reading(client, "freehold_generation_tokens_total"),
    )


def asked_without_end(path: str, model: str) -> dict[str, Any]:
    """A stream that goes on for LIMIT_TOKENS, whatever the model would say."""
    surface = SURFACES[path]
    assert surface.limit is not None
    limited = surface.asked(**{surface.limit: LIMIT_TOKENS})
    return {**limited, **surface.endless, "model": model, "stream": True}


# After so long, or with the first of the answer.
LEAVING_S = (0.0, 0.01, 0.05)


def leaving() -> list[object]:
    """Every path with the first of its answer, and with one of the times; with all, if slow."""
    return [
        pytest.param(
            path,
            after_s,
            marks=[] if after_s is None or place % 3 == number else [pytest.mark.slow],
        )
        for place, path in enumerate(GENERATING)
        for number, after_s in enumerate((*LEAVING_S, None))
    ]


@pytest.mark.parametrize(("path", "after_s"), leaving())
def test_who_leaves_a_stream_ends_its_answer(
    client: httpx.Client, live_server: LiveServer, path: str, after_s: float | None
) -> None:
    body = json.dumps(asked_without_end(path, live_server.model)).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    host, port = live_server.url.removeprefix("http://").split(":")
    soon(lambda: at_work(client) == 0, "the end of earlier answers")
    ended, left, written = counts(client, path)
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            if after_s is None:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
                soon(lambda: at_work(client) > 0, "an answer")
            else:
                time.sleep(after_s)
    soon(lambda: counts(client, path)[0] == ended + 3, "the end of the requests")
    # The engine reports how much it does at least so often while it does anything.
    time.sleep(0.3)
    soon(lambda: at_work(client) == 0, "the end of the answers")
    # By their own end they would have written three times this.
    assert counts(client, path)[2] - written < LIMIT_TOKENS
    if after_s is None:
        assert counts(client, path)[1] == left + 3


def test_a_full_queue_is_a_429_that_says_when_to_ask_again(
    starter_path: Path, tmp_path: Path
) -> None:
    chat = "/v1/chat/completions"
    with living(starter_path, tmp_path, "--max-running", "1", "--max-waiting", "1") as live:
        client = httpx.Client(base_url=live.url, timeout=PATIENCE_S)

        def stream() -> AbstractContextManager[httpx.Response]:
            return client.stream("POST", chat, json=asked_without_end(chat, live.model))

        def turned_away(path: str) -> bool:
            answer = post(client, live, path, SURFACES[path].body)
            if answer.status_code == 200:
                return False
            assert "waiting" in refused(answer, 429)
            assert int(answer.headers["retry-after"]) >= 1
            return True

        with client:
            with stream() as runs:
                lines = runs.iter_lines()  # kept: without it, httpx would leave
                next(lines)
                with stream():  # waits
                    assert all(map(turned_away, GENERATING))
            soon(lambda: not any(map(turned_away, GENERATING)), "room")
        assert SECRET not in live.log.read_text()
