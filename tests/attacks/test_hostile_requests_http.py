"""Requests that no model can answer, over every surface: a 4xx that names the fault, and no text.

Asked of the real server over the real model. Each refusal has its surface's form and a request id,
and neither it nor the log holds what the prompt said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from freehold.server.http_errors import surface_of
from tests.attacks.surfaces import EMBEDDING, GENERATING, SECRET, SURFACES, post, refused
from tests.server.live import LiveServer

pytestmark = [pytest.mark.weights, pytest.mark.usefixtures("no_prompt_in_the_log")]


@pytest.mark.parametrize("path", GENERATING)
def test_without_a_fault_each_is_answered(
    client: httpx.Client, live_server: LiveServer, path: str
) -> None:
    assert post(client, live_server, path, SURFACES[path].body).status_code == 200


@pytest.mark.parametrize("path", GENERATING)
def test_too_long_a_context_is_refused_with_both_numbers(
    client: httpx.Client, live_server: LiveServer, path: str
) -> None:
    body = SURFACES[path].saying(f"{SECRET} " * 1000)
    answer = post(client, live_server, path, body)
    said = refused(answer)
    assert f"context is {live_server.context_tokens} tokens" in said
    (needed,) = [int(word.strip(":")) for word in said.split() if word.strip(":").isdigit()][1:2]
    assert needed > 9000
    if surface_of(path) == "openai":
        assert answer.json()["error"]["code"] == "context_length_exceeded"
    if surface_of(path) == "anthropic":
        assert said.startswith("prompt is too long")


@pytest.mark.parametrize("path", GENERATING)
def test_an_answer_that_would_not_fit_is_refused_and_not_shortened(
    client: httpx.Client, live_server: LiveServer, path: str
) -> None:
    surface = SURFACES[path]
    assert surface.limit is not None
    for tokens in (live_server.context_tokens, 10**9):
        said = refused(post(client, live_server, path, surface.asked(**{surface.limit: tokens})))
        assert str(tokens) in said


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("name", ["nobody", "../../etc/passwd", "/etc/passwd", "a" * 400, "\0"])
def test_an_unknown_model_is_a_404(client: httpx.Client, path: str, name: str) -> None:
    answer = client.post(path, json={**SURFACES[path].body, "model": name})
    said = refused(answer, 404)
    assert "not known" in said
    if surface_of(path) == "openai":
        assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", EMBEDDING)
def test_a_chat_model_does_not_embed(
    client: httpx.Client, live_server: LiveServer, path: str
) -> None:
    assert "chat" in refused(post(client, live_server, path, SURFACES[path].body))


HUGE = 10**300
BAD_SAMPLING: dict[str, list[Any]] = {
    "temperature": [-1, 1e9, HUGE, "hot", True, [], {}],
    "top_p": [-0.5, 2, -HUGE, "x"],
    "top_k": [10**30, 1.5, "x"],
    "min_p": [-1, 3],
    "seed": [10**40, 1.5, "x"],
    "presence_penalty": [1e300, -1e300],
    "frequency_penalty": [1e300, "x"],
    "repetition_penalty": [0, -1],
    "repeat_penalty": [0, -1],
    "n": [0, -1, 10**6, HUGE, 1.5, True],
    "best_of": [0, -1, 10**6],
    "max_tokens": [0, -1, HUGE, 1.5, "2", True],
    "max_output_tokens": [0, -1, HUGE, 1.5],
    "num_predict": [-3, HUGE, 1.5],
    "num_ctx": [-1, 10**9, HUGE],
    "logprobs": [-1, 10**6, "x"],
    "top_logprobs": [-1, 10**6],
    "prompt_logprobs": [-2, 10**6],
    "logit_bias": [{"999999": 1}, {"x": 1}, {"1": 1e9}, {"-1": 1}, []],
    "stop": [[""], ["x"] * 1000, ["x" * 100_000], 7],
    "stop_sequences": [[""], ["x"] * 1000, ["x" * 100_000], 7],
    "stop_token_ids": [[-1], [10**9], [HUGE], ["x"]],
}


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("name", BAD_SAMPLING)
def test_a_bad_sampling_value_is_refused_by_name(
    client: httpx.Client, live_server: LiveServer, path: str, name: str
) -> None:
    for value in BAD_SAMPLING[name]:
        if (path, name, value) == ("/v1/completions", "max_tokens", 0):
            continue  # which asks for the prompt's own log probabilities
        said = refused(post(client, live_server, path, SURFACES[path].asked(**{name: value})))
        assert name in said, (value, said)


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 5000, "01", "0x1"]
)
def test_what_is_no_json_number_is_refused(
    client: httpx.Client, live_server: LiveServer, path: str, number: str
) -> None:
    body = json.dumps({"model": live_server.model, **SURFACES[path].asked(temperature="@")})
    refused(client.post(path, content=body.replace('"@"', number)))


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("name", ["temprature", "Model", "model ", "__class__", "a.b", "é"])
def test_an_unknown_field_is_refused_by_name(
    client: httpx.Client, live_server: LiveServer, path: str, name: str
) -> None:
    said = refused(post(client, live_server, path, {**SURFACES[path].body, name: None}))
    assert f"unknown field {name!r}" in said


def broken_bodies(body: bytes, text: bytes) -> Iterator[tuple[str, bytes]]:
    yield "invalid UTF-8", body.replace(text, b"\xff\xfe" + text)
    yield "half a character", body.replace(text, text + b"\xc3")
    yield "UTF-16", body.decode().encode("utf-16")
    yield "a byte order mark", b"\xef\xbb\xbf" + body
    yield "half a surrogate pair", body.replace(text, b"\\ud800" + text)
    yield "a raw control character", body.replace(text, b"\x01" + text)
    yield "deep arrays", body[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    yield "deep objects", body[:-1] + b',"x":' + b'{"a":' * 70 + b"1" + b"}" * 71
    yield "a million objects", body[:-1] + b',"x":[' + b"{}," * 1_000_000 + b"{}]}"
    yield "a key twice", body[:-1] + b',"model":"other"}'
    yield "a key twice, inside", body[:-1] + b',"x":{"a":1,"a":2}}'
    yield "something after it", body + b"x"
    yield "two bodies", body + body
    yield "its end missing", body[:-2]
    yield "a list", b"[" + body + b"]"
    yield "a text", json.dumps(text.decode()).encode()
    yield "null", b"null"
    yield "nothing", b""
    yield "blanks", b" \n "
    yield "single quotes", body.replace(b'"', b"'")
    yield "a comment", body + b"// " + text


@pytest.mark.parametrize("path", SURFACES)
def test_a_body_that_is_not_one_strict_json_object_is_refused(
    client: httpx.Client, live_server: LiveServer, path: str
) -> None:
    body = json.dumps({"model": live_server.model, **SURFACES[path].body}).encode()
    for name, broken in broken_bodies(body, SECRET.encode()):
        assert refused(client.post(path, content=broken)), name


@pytest.mark.parametrize("path", SURFACES)
def test_too_large_a_body_is_a_413_and_another_type_a_415(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json={**SURFACES[path].saying("x" * (9 << 20)), "model": SECRET})
    refused(answer, 413)
    for headers in (
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ):
        refused(client.post(path, content=b"{}", headers=headers), 415)
