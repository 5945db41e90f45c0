"""OpenAI's own client against the real server with the starter model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal

import openai
import pytest
from openai import LengthFinishReasonError, OpenAI
from pydantic import BaseModel

from tests.server.live import LiveServer

pytestmark = pytest.mark.weights

FRANCE: Any = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[OpenAI]:
    with OpenAI(api_key="none", base_url=live_server.openai_url, max_retries=0) as client:
        yield client


def text_of(stream: Any) -> str:
    choices = [chunk.choices[0] for chunk in stream if chunk.choices]
    return "".join(choice.delta.content or "" for choice in choices)


def test_an_answer_is_the_same_streamed_and_whole(client: OpenAI, live_server: LiveServer) -> None:
    asked: dict[str, Any] = {"model": live_server.model, "messages": FRANCE, "temperature": 0}
    whole = client.chat.completions.create(**asked, max_tokens=24)
    assert whole.choices[0].message.content
    assert whole.choices[0].finish_reason in {"stop", "length"}
    assert whole.usage is not None
    assert 0 < whole.usage.completion_tokens <= 24
    stream = client.chat.completions.create(**asked, max_tokens=24, stream=True)
    assert text_of(stream) == whole.choices[0].message.content


def test_a_conversation_goes_on_from_the_cache(client: OpenAI, live_server: LiveServer) -> None:
    long = [{"role": "user", "content": "Count: " + " ".join(map(str, range(200)))}]
    asked: dict[str, Any] = {"model": live_server.model, "temperature": 0, "max_tokens": 8}
    first = client.chat.completions.create(messages=long, **asked)  # type: ignore[arg-type]
    again: Any = [*long, first.choices[0].message, {"role": "user", "content": "Go on."}]
    second = client.chat.completions.create(messages=again, **asked)
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) > 100


def test_the_same_seed_gives_the_same_answer_under_load(
    client: OpenAI, live_server: LiveServer
) -> None:
    def answer(_: int) -> str | None:
        return (
            client.chat.completions.create(
                model=live_server.model, messages=FRANCE, seed=5, max_tokens=16
            )
            .choices[0]
            .message.content
        )

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(answer, range(6)))) == 1


def test_choices_limits_stops_and_log_probabilities(
    client: OpenAI, live_server: LiveServer
) -> None:
    reply = client.chat.completions.create(
        model=live_server.model, messages=FRANCE, n=3, max_tokens=5, logprobs=True, top_logprobs=2
    )
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    for choice in reply.choices:
        assert choice.logprobs is not None
        tokens = choice.logprobs.content or []
        assert 0 < len(tokens) <= 5
        assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in tokens)
    numbers: Any = [{"role": "user", "content": "Write: one, two, three, four, five"}]
    stopped = client.chat.completions.create(
        model=live_server.model,
        messages=numbers,
        temperature=0,
        max_tokens=40,
        stop=[","],
        extra_body={"ignore_eos": True},
    )
    assert "," not in (stopped.choices[0].message.content or "")


def test_a_forced_tool_is_called_with_valid_arguments(
    client: OpenAI, live_server: LiveServer
) -> None:
    named: Any = {"type": "function", "function": {"name": "weather"}}
    messages: Any = [{"role": "user", "content": "What is the weather in Rome?"}]
    asked: dict[str, Any] = {"model": live_server.model, "tools": [WEATHER], "max_tokens": 120}
    whole = client.chat.completions.create(
        **asked, messages=messages, tool_choice=named, temperature=0
    )
    message = whole.choices[0].message
    (call,) = message.tool_calls or []
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"}
    assert arguments["unit"] in {"celsius", "fahrenheit"}
    with client.chat.completions.stream(
        **asked, messages=messages, tool_choice=named, temperature=0
    ) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices[0].message
    (same,) = streamed.tool_calls or []
    assert same.function.arguments == call.function.arguments
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees, sunny"}
    last = client.chat.completions.create(**asked, messages=[*messages, message, result])
    assert last.choices[0].finish_reason in {"stop", "length", "tool_calls"}


class City(BaseModel):
    name: Literal["Paris", "Rome"]
    large: bool
    inhabitants: int


def test_a_schema_is_kept_at_temperature_one(client: OpenAI, live_server: LiveServer) -> None:
    kept = 0
    for seed in range(6):
        with suppress(LengthFinishReasonError):  # what the client raises for a capped answer
            reply = client.chat.completions.parse(
                model=live_server.model,
                messages=FRANCE,
                response_format=City,
                max_tokens=100,
                seed=seed,
            )
            assert reply.choices[0].finish_reason == "stop"
            assert isinstance(reply.choices[0].message.parsed, City)
            kept += 1
    assert kept


def test_completions_echo_and_probabilities(client: OpenAI, live_server: LiveServer) -> None:
    prompt = "The capital of France is"
    reply = client.completions.create(
        model=live_server.model, prompt=prompt, echo=True, logprobs=2, max_tokens=4, temperature=0
    )
    (choice,) = reply.choices
    assert choice.text.startswith(prompt)
    # The first token has none, which the client's types do not know.
    logprobs: Any = choice.logprobs
    assert "".join(logprobs.tokens) == choice.text
    assert logprobs.token_logprobs[0] is None
    stream = client.completions.create(
        model=live_server.model, prompt=prompt, echo=True, max_tokens=4, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream) == choice.text


def test_several_prompts_answer_as_they_do_alone(client: OpenAI, live_server: LiveServer) -> None:
    asked: dict[str, Any] = {"model": live_server.model, "temperature": 0, "max_tokens": 6}
    prompts = ["One, two,", "The sky is"]
    together = client.completions.create(prompt=prompts, **asked)
    alone = [client.completions.create(prompt=p, **asked).choices[0].text for p in prompts]
    assert [choice.text for choice in together.choices] == alone


def test_models_and_tokens(client: OpenAI, live_server: LiveServer) -> None:
    assert [model.id for model in client.models.list()] == [live_server.model]
    assert client.models.retrieve(live_server.model).owned_by == "freehold"
    http = client.with_options(base_url=live_server.url)
    counted: Any = http.post("/tokenize", body={"prompt": "Hello world"}, cast_to=object)
    assert counted["count"] == len(counted["tokens"]) > 0
    back: Any = http.post("/detokenize", body={"tokens": counted["tokens"]}, cast_to=object)
    assert back["prompt"] == "Hello world"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"extra_body": {"colour": 1}}, "colour"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "wrong"}},
                }
            },
            "response_format",
        ),
    ],
)
def test_what_cannot_be_done_is_a_400(
    client: OpenAI, live_server: LiveServer, fields: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=live_server.model, messages=FRANCE, **fields)
    assert param is None or caught.value.param == param


def test_too_long_a_prompt_says_both_numbers(client: OpenAI, live_server: LiveServer) -> None:
    long: Any = [{"role": "user", "content": "word " * 5000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=live_server.model, messages=long)
    assert caught.value.code == "context_length_exceeded"
    assert str(live_server.context_tokens) in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-6", messages=FRANCE)


def test_a_client_that_leaves_gives_its_place_back(client: OpenAI, live_server: LiveServer) -> None:
    for _ in range(3):
        stream = client.chat.completions.create(
            model=live_server.model,
            messages=FRANCE,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(iter(stream))
        stream.close()
    done = client.chat.completions.create(model=live_server.model, messages=FRANCE, max_tokens=2)
    assert done.usage is not None
    assert done.usage.completion_tokens == 2
