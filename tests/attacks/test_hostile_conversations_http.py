"""Conversations that are none, clients that leave and queues that are full, over every surface."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from freehold.server.http_errors import surface_of
from tests.attacks.surfaces import CHATTING, GENERATING, SECRET, SURFACES, USER, post, refused
from tests.server.live import LiveServer, living

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
    return next(int(usage[name]) for name in names if name in usage)


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


PICTURE = "http://169.254.169.254/latest/" + SECRET
SHOWN: list[tuple[str, dict[str, Any]]] = [
    (
        "/v1/chat/completions",
        {"messages": part(type="image_url", image_url={"url": PICTURE})},
    ),
    (
        "/v1/chat/completions",
        {"messages": part(type="input_audio", input_audio={"data": "AA", "format": "wav"})},
    ),
    ("/v1/chat/completions", {"messages": part(type="file", file={"file_id": SECRET})}),
    ("/v1/responses", {"input": part(type="input_image", image_url=PICTURE)}),
    ("/v1/responses", {"input": part(type="input_file", file_url=PICTURE)}),
    ("/v1/messages", {"messages": part(type="image", source={"type": "url", "url": PICTURE})}),
    (
        "/v1/messages",
        {"messages": part(type="document", source={"type": "text", "data": SECRET})},
    ),
    ("/api/chat", {"messages": [{**USER, "images": ["AAAA"]}]}),
    ("/api/generate", {"images": ["AAAA"]}),
]


@pytest.mark.parametrize(("path", "change"), SHOWN)
def test_what_is_no_text_is_refused_and_nothing_is_fetched(
    client: httpx.Client, live_server: LiveServer, path: str, change: dict[str, Any]
) -> None:
    begun = time.monotonic()
    refused(post(client, live_server, path, {**SURFACES[path].body, **change}))
    assert time.monotonic() - begun < 5


def running(client: httpx.Client) -> int:
    models = client.get("/admin/ps").json()["models"]
    return sum(model["running"] + model["waiting"] for model in models)


def soon(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.05, None], ids=str)
def test_who_leaves_a_stream_ends_its_answer(
    client: httpx.Client, live_server: LiveServer, path: str, after_s: float | None
) -> None:
    surface = SURFACES[path]
    assert surface.limit is not None
    asked = surface.asked(**{surface.limit: 1500}) | {"model": live_server.model, "stream": True}
    body = json.dumps(asked).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    host, port = live_server.url.removeprefix("http://").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            if after_s is None:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
                soon(lambda: running(client) > 0)
            else:
                time.sleep(after_s)
    # The engine reports how many run at least so often while it works.
    time.sleep(0.3)
    soon(lambda: running(client) == 0)


def test_a_full_queue_is_a_429_that_says_when_to_ask_again(
    starter_path: Path, tmp_path: Path
) -> None:
    with living(starter_path, tmp_path, "--max-running", "1", "--max-waiting", "1") as live:
        client = httpx.Client(base_url=live.url, timeout=60)

        def ask(path: str) -> httpx.Response:
            surface = SURFACES[path]
            assert surface.limit is not None
            return post(client, live, path, surface.asked(**{surface.limit: 20}))

        with client, ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(ask, GENERATING * 4))
        turned_away = [answer for answer in answers if answer.status_code != 200]
        assert len(turned_away) < len(answers), "nobody was answered"
        surfaces = set()
        for answer in turned_away:
            assert "waiting" in refused(answer, 429)
            assert int(answer.headers["retry-after"]) >= 1
            surfaces.add(surface_of(answer.request.url.path))
        assert surfaces == {"openai", "anthropic", "ollama"}
        assert SECRET not in live.log.read_text()
