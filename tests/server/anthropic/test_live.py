"""Anthropic's own client against the real server with the starter model."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import anthropic
import pytest
from anthropic import Anthropic
from pydantic import BaseModel, ConfigDict

from tests.server.live import LiveServer

pytestmark = pytest.mark.weights

FRANCE: Any = [{"role": "user", "content": "What is the capital of France?"}]
# Newer models of Anthropic's take no temperature, and their client has no name for it.
GREEDY = {"temperature": 0}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "name": "weather",
    "description": "The weather in a city.",
    "strict": True,
    "input_schema": SCHEMA,
}


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[Anthropic]:
    with Anthropic(api_key="none", base_url=live_server.url, max_retries=0) as client:
        yield client


@pytest.fixture
def asked(live_server: LiveServer) -> dict[str, Any]:
    return {"model": live_server.model, "max_tokens": 24, "extra_body": GREEDY}


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_an_answer_is_the_same_streamed_and_whole(client: Anthropic, asked: dict[str, Any]) -> None:
    whole = client.messages.create(**asked, messages=FRANCE, system="Be brief.")
    with client.messages.stream(**asked, messages=FRANCE, system="Be brief.") as stream:
        text = "".join(stream.text_stream)
        streamed = stream.get_final_message()
    assert text
    assert text_of(whole) == text == text_of(streamed)
    assert whole.stop_reason == streamed.stop_reason
    assert 0 < whole.usage.output_tokens == streamed.usage.output_tokens <= 24


def test_a_conversation_goes_on_from_the_cache(client: Anthropic, asked: dict[str, Any]) -> None:
    long = "Remember these: " + ", ".join(f"number {n}" for n in range(100))
    messages: Any = [{"role": "user", "content": long}]
    first = client.messages.create(**asked, messages=messages)
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "And which was the first?"},
    ]
    second = client.messages.create(**asked, messages=messages)
    assert text_of(second)
    counted = client.messages.count_tokens(model=asked["model"], messages=messages)
    cached = second.usage.cache_read_input_tokens or 0
    assert cached >= 64
    assert second.usage.input_tokens + cached == counted.input_tokens


def test_an_answer_ends_before_a_stop_sequence(client: Anthropic, asked: dict[str, Any]) -> None:
    whole = text_of(client.messages.create(**asked, messages=FRANCE))
    word = whole.split()[2]
    message = client.messages.create(**asked, messages=FRANCE, stop_sequences=[word])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", word)
    assert text_of(message) == whole[: whole.index(word)]


def test_an_answer_goes_on_where_the_last_message_ends(
    client: Anthropic, asked: dict[str, Any]
) -> None:
    begun: Any = [*FRANCE, {"role": "assistant", "content": "The capital of France is"}]
    message = client.messages.create(**asked, messages=begun)
    assert "Paris" in text_of(message)
    assert "capital of France is" not in text_of(message).split(".")[0]


def test_a_named_tool_is_called_with_valid_input(client: Anthropic, asked: dict[str, Any]) -> None:
    forced: Any = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    fields = asked | {"max_tokens": 120, "tools": [WEATHER], "tool_choice": forced}
    messages: Any = [{"role": "user", "content": "What is the weather in Rome?"}]
    message = client.messages.create(**fields, messages=messages)
    assert message.stop_reason == "tool_use"
    (call,) = (block for block in message.content if block.type == "tool_use")
    assert call.name == "weather"
    assert set(call.input) == {"city", "unit"}
    assert call.input["unit"] in {"celsius", "fahrenheit"}
    with client.messages.stream(**fields, messages=messages) as stream:
        streamed = stream.get_final_message()
    (again,) = (block for block in streamed.content if block.type == "tool_use")
    assert again.input == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny, 21 degrees."}
    messages += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    last = client.messages.create(**asked, tools=[WEATHER], messages=messages)
    assert last.content


class Reading(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sky: Literal["clear", "cloudy"]
    degrees: Literal[-5, 12, 30]  # a whole number may have more digits than an answer has tokens


def test_a_schema_is_kept_at_full_temperature(client: Anthropic, live_server: LiveServer) -> None:
    for _ in range(3):
        message = client.messages.parse(
            model=live_server.model,
            max_tokens=100,
            messages=[{"role": "user", "content": "The weather?"}],
            output_format=Reading,
        )
        assert isinstance(message.parsed_output, Reading)


def test_answers_do_not_depend_on_company(client: Anthropic, asked: dict[str, Any]) -> None:
    def answer(_: int) -> str:
        return text_of(client.messages.create(**asked, messages=FRANCE))

    with ThreadPoolExecutor(4) as together:
        assert len({answer(0), *together.map(answer, range(4))}) == 1


@pytest.mark.parametrize(
    ("fields", "kind", "named"),
    [
        ({"model": "elsewhere"}, anthropic.NotFoundError, "elsewhere"),
        ({"max_tokens": 10_000}, anthropic.BadRequestError, "2048"),
        ({"extra_body": {"temperature": 2}}, anthropic.BadRequestError, "temperature"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "poem"}}}},
            anthropic.BadRequestError,
            "type",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1500},
            anthropic.BadRequestError,
            "thinking",
        ),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            anthropic.BadRequestError,
            "web_search_20250305",
        ),
    ],
)
def test_refusals_are_the_clients_own(
    client: Anthropic,
    asked: dict[str, Any],
    fields: dict[str, Any],
    kind: type[anthropic.APIStatusError],
    named: str,
) -> None:
    given = asked | {"messages": FRANCE} | fields
    for stream in (False, True):
        with pytest.raises(kind) as caught:
            client.messages.create(**given, stream=stream)
        assert named in caught.value.message
        assert caught.value.request_id


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(
    client: Anthropic, asked: dict[str, Any], live_server: LiveServer
) -> None:
    messages: Any = [{"role": "user", "content": "word " * 3000}]
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**asked, messages=messages)
    assert "prompt is too long" in caught.value.message
    assert str(live_server.context_tokens) in caught.value.message
