"""OpenAI's own client, over the whole app and a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from freehold.errors import EngineDied, FreeholdError, ModelLoading, PromptTooLong, QueueFull
from freehold.server.ask import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)
from tests.server.scripted import HELLO, MODEL, USAGE, ScriptedResident
from tests.server.whole import whole_app

HI: Any = [{"role": "user", "content": "hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CALL: tuple[Event, ...] = (
    ReasoningDelta(0, "Rain?"),
    ToolCallStart(0, 0, "call_1", "weather"),
    ToolCallDelta(0, 0, '{"city": "Ro'),
    ToolCallDelta(0, 0, 'me"}'),
    Finish(0, "tool_calls"),
    USAGE,
)


@contextmanager
def client_of(
    home: Path, *events: Event | FreeholdError, refuses: FreeholdError | None = None
) -> Iterator[OpenAI]:
    resident = ScriptedResident(events or HELLO, refuses=refuses)
    with whole_app(home, resident) as whole:
        http: Any = whole.client
        base = "http://localhost/v1"
        yield OpenAI(api_key="none", base_url=base, http_client=http, max_retries=0)


def test_a_conversation_whole_and_streamed(home: Path) -> None:
    with client_of(home) as client:
        whole = client.chat.completions.create(model=MODEL, messages=HI)
        assert whole.choices[0].message.content == "Hello world"
        assert whole._request_id
        options: Any = {"include_usage": True}
        stream = client.chat.completions.create(
            model=MODEL, messages=HI, stream=True, stream_options=options
        )
        chunks = list(stream)
        texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(texts) == "Hello world"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 10


def test_the_client_s_own_accumulator_puts_calls_together(home: Path) -> None:
    with (
        client_of(home, *CALL) as client,
        client.chat.completions.stream(model=MODEL, messages=HI, tools=[WEATHER]) as stream,
    ):
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert (call.id, call.function.name) == ("call_1", "weather")
    assert call.function.parsed_arguments == {"city": "Rome"}
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "Rain?"


def test_a_client_can_send_back_what_it_was_given(home: Path) -> None:
    with client_of(home, *CALL) as client:
        first = client.chat.completions.create(model=MODEL, messages=HI, tools=[WEATHER])
        result: Any = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
        for said in (first.choices[0].message, first.choices[0].message.model_dump()):
            again: Any = [*HI, said, result]
            client.chat.completions.create(model=MODEL, messages=again, tools=[WEATHER])


class Person(BaseModel):
    name: str
    age: int


def test_an_answer_is_parsed_into_the_client_s_type(home: Path) -> None:
    with client_of(home, TextDelta(0, '{"name": "Ada", "age": 36}'), *HELLO[2:]) as client:
        parsed = client.chat.completions.parse(model=MODEL, messages=HI, response_format=Person)
        assert parsed.choices[0].message.parsed == Person(name="Ada", age=36)


def test_completions_and_models(home: Path) -> None:
    with client_of(home) as client:
        assert client.completions.create(model=MODEL, prompt="x").choices[0].text == "Hello world"
        stream = client.completions.create(model=MODEL, prompt="x", stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == "Hello world"
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).id == MODEL


@pytest.mark.parametrize(
    ("refuses", "expected"),
    [
        (PromptTooLong("too long", param="messages"), openai.BadRequestError),
        (QueueFull("full"), openai.RateLimitError),
        (ModelLoading("loading"), openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_errors_are_the_client_s_typed_ones(
    home: Path, refuses: FreeholdError, expected: type[openai.APIStatusError], stream: bool
) -> None:
    with client_of(home, refuses=refuses) as client, pytest.raises(expected) as caught:
        client.chat.completions.create(model=MODEL, messages=HI, stream=stream)
    if expected is not openai.BadRequestError:
        assert int(caught.value.response.headers["retry-after"]) > 0
    else:
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


def test_bad_fields_and_unknown_models_have_their_own_types(home: Path) -> None:
    with client_of(home) as client:
        with pytest.raises(openai.BadRequestError) as bad:
            client.chat.completions.create(model=MODEL, messages=HI, extra_body={"colour": 1})
        assert bad.value.param == "colour"
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="gpt-6", messages=HI)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-6")


def test_a_stream_that_breaks_off_raises(home: Path) -> None:
    with client_of(home, TextDelta(0, "a"), EngineDied("it died")) as client:
        stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        with pytest.raises(openai.APIError, match="it died"):
            list(stream)


def test_the_extensions_people_send_are_taken(home: Path) -> None:
    extra = {"top_k": 20, "min_p": 0.1, "repetition_penalty": 1.1, "guided_choice": ["a", "b"]}
    with client_of(home) as client:
        client.chat.completions.create(model=MODEL, messages=HI, extra_body=extra)
        client.completions.create(model=MODEL, prompt="x", extra_body=extra)
