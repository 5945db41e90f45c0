"""Ollama's own client against the real server with the starter model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import ollama
import pytest
from pydantic import BaseModel, ConfigDict

from freehold import __version__
from tests.server.live import LiveServer
from tests.waiting import soon

pytestmark = pytest.mark.weights

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0, "num_predict": 24}


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[ollama.Client]:
    with ollama.Client(live_server.url) as client:
        yield client


def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: its name
    """
    return f"Sunny in {city}, 21 degrees."


def test_chat_is_the_same_streamed_and_whole(
    client: ollama.Client, live_server: LiveServer
) -> None:
    whole = client.chat(live_server.model, FRANCE, options=GREEDY)
    parts = list(client.chat(live_server.model, FRANCE, options=GREEDY, stream=True))
    text = "".join(part.message.content or "" for part in parts)
    assert text
    assert text == whole.message.content
    last = parts[-1]
    assert last.done
    assert last.done_reason == whole.done_reason
    assert last.eval_count == whole.eval_count
    assert last.prompt_eval_count == whole.prompt_eval_count
    assert (last.total_duration or 0) > (last.eval_duration or 0) > 0


def test_generate_answers_and_continues(client: ollama.Client, live_server: LiveServer) -> None:
    whole = client.generate(live_server.model, "What is the capital of France?", options=GREEDY)
    parts = client.generate(
        live_server.model, "What is the capital of France?", options=GREEDY, stream=True
    )
    assert "".join(part.response or "" for part in parts) == whole.response
    raw = client.generate(live_server.model, "The capital of France is", raw=True, options=GREEDY)
    assert "Paris" in (raw.response or "")


def test_an_answer_goes_on_where_the_last_message_ends(
    client: ollama.Client, live_server: LiveServer
) -> None:
    begun = [*FRANCE, {"role": "assistant", "content": "The capital of France is"}]
    reply = client.chat(live_server.model, begun, options=GREEDY)
    assert "Paris" in (reply.message.content or "")


def test_the_same_seed_gives_the_same_answer(
    client: ollama.Client, live_server: LiveServer
) -> None:
    options = {"seed": 7, "num_predict": 16, "temperature": 1.0}
    answers = {
        client.chat(live_server.model, FRANCE, options=options).message.content for _ in range(2)
    }
    assert len(answers) == 1


def test_a_penalty_with_a_window_changes_the_answer(
    client: ollama.Client, live_server: LiveServer
) -> None:
    say = [{"role": "user", "content": "Say hello hello hello hello hello."}]
    plain = client.chat(live_server.model, say, options=GREEDY)
    harsh = GREEDY | {"repeat_penalty": 1.8, "repeat_last_n": 16}
    assert client.chat(live_server.model, say, options=harsh).message != plain.message


class Reading(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sky: Literal["clear", "cloudy"]
    degrees: int


def test_a_schema_is_kept(client: ollama.Client, live_server: LiveServer) -> None:
    ask = [{"role": "user", "content": "The weather? Answer in JSON."}]
    reply = client.chat(
        live_server.model,
        ask,
        format=Reading.model_json_schema(),
        options={"temperature": 1, "num_predict": 100},
    )
    assert reply.done_reason == "stop"
    Reading.model_validate_json(reply.message.content or "")


def test_json_is_an_object(client: ollama.Client, live_server: LiveServer) -> None:
    reply = client.generate(
        live_server.model,
        'Answer with the JSON object {"capital": "Paris"} and nothing else.',
        format="json",
        options={"temperature": 0, "num_predict": 200},
    )
    if reply.done_reason == "stop":
        assert isinstance(json.loads(reply.response or ""), dict)
    else:
        assert (reply.response or "").lstrip().startswith("{")


def test_tools_come_and_go(client: ollama.Client, live_server: LiveServer) -> None:
    ask: list[Any] = [{"role": "user", "content": "What is the weather in Rome?"}]
    options = {"temperature": 0, "num_predict": 60}
    client.chat(live_server.model, ask, tools=[weather], options=options)
    called = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    history = [
        *ask,
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "tool_name": "weather", "content": weather("Rome")},
    ]
    reply = client.chat(live_server.model, history, tools=[weather], options=options)
    assert reply.message.content or reply.message.tool_calls


def test_logprobs_are_those_of_the_tokens(client: ollama.Client, live_server: LiveServer) -> None:
    reply = client.chat(live_server.model, FRANCE, logprobs=True, top_logprobs=3, options=GREEDY)
    noted = reply.logprobs or []
    # The token that ended the answer is counted and is no text.
    assert len(noted) in {reply.eval_count, (reply.eval_count or 0) - 1}
    for note in noted:
        top = note.top_logprobs or []
        assert len(top) == 3
        assert top[0].logprob == note.logprob <= 0


def test_the_model_is_listed_and_shown(client: ollama.Client, live_server: LiveServer) -> None:
    name = f"{live_server.model}:latest"
    (listed,) = client.list().models
    assert listed.model == name
    assert (listed.size or 0) > 90_000_000
    shown = client.show(name)
    assert shown.details == listed.details
    assert "<|im_start|>" in (shown.template or "")
    assert (shown.modelinfo or {})["general.architecture"]
    assert (shown.modelinfo or {})["tokenizer.ggml.tokens"] is None
    assert shown.capabilities == ["completion", "tools"]


def test_a_model_is_loaded_asked_and_unloaded(
    client: ollama.Client, live_server: LiveServer
) -> None:
    assert client.generate(live_server.model).done_reason == "load"
    assert [model.model for model in client.ps().models] == [f"{live_server.model}:latest"]
    assert client.generate(live_server.model, keep_alive=0).done_reason == "unload"
    soon(lambda: client.ps().models == [], "an empty memory")
    # It comes back when it is asked.
    assert (
        client.chat(live_server.model, FRANCE, options={"num_predict": 1}).done_reason == "length"
    )


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"model": "elsewhere"}, 404, "elsewhere"),
        ({"options": {"num_ctx": 1 << 20}}, 400, "options.num_ctx"),
        ({"options": {"num_ctx": 8}}, 400, "options.num_ctx"),
        ({"options": {"num_predict": 1 << 20}}, 400, "2048"),
        ({"options": {"temperature": -1}}, 400, "options.temperature"),
        ({"options": {"num_thread": 4}}, 400, "options.num_thread"),
        ({"format": {"type": "poem"}}, 400, "type"),
        ({"think": True}, 400, "think"),
        ({"think": "high"}, 400, "think"),
    ],
)
def test_refusals_are_the_clients_own(
    client: ollama.Client,
    live_server: LiveServer,
    fields: dict[str, Any],
    status: int,
    named: str,
) -> None:
    given: dict[str, Any] = {"model": live_server.model, "messages": FRANCE} | fields
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError) as caught:
            list(client.chat(**given, stream=stream))
        assert caught.value.status_code == status
        assert named in caught.value.error


def test_the_version_is_freeholds(live_server: LiveServer) -> None:
    import httpx

    assert httpx.get(f"{live_server.url}/api/version").json() == {"version": __version__}
