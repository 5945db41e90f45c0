"""Anthropic's own client, over the whole app and a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
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
from tests.server.anthropic.asking import WEATHER
from tests.server.scripted import HELLO, MODEL, USAGE, ScriptedResident
from tests.server.whole import whole_app

HI: Any = [{"role": "user", "content": "hi"}]
TOOLS: Any = [WEATHER]
CALL: tuple[Event, ...] = (
    ReasoningDelta(0, "Rain?"),
    TextDelta(0, "Let me look."),
    ToolCallStart(0, 0, "call_1", "weather"),
    ToolCallDelta(0, 0, '{"city": "Ro'),
    ToolCallDelta(0, 0, 'me"}'),
    Finish(0, "tool_calls"),
    USAGE,
)


@contextmanager
def client_of(
    home: Path, *events: Event | FreeholdError, refuses: FreeholdError | None = None
) -> Iterator[tuple[Anthropic, ScriptedResident]]:
    resident = ScriptedResident(events or HELLO, refuses=refuses)
    with whole_app(home, resident) as whole:
        http: Any = whole.client
        base = "http://localhost"
        yield Anthropic(api_key="none", base_url=base, http_client=http, max_retries=0), resident


def test_a_message_whole_and_streamed_are_the_same(home: Path) -> None:
    with client_of(home, *CALL) as (client, _):
        whole = client.messages.create(model=MODEL, max_tokens=64, messages=HI, tools=TOOLS)
        with client.messages.stream(model=MODEL, max_tokens=64, messages=HI, tools=TOOLS) as stream:
            text = "".join(stream.text_stream)
            streamed = stream.get_final_message()
    assert text == "Let me look."
    said_twice = [m.to_dict(exclude_none=True) | {"id": ""} for m in (whole, streamed)]
    assert said_twice[0] == said_twice[1]
    thinking, said, call = whole.content
    assert thinking.type == "thinking"
    assert said.type == "text"
    assert call.type == "tool_use"
    assert call.input == {"city": "Rome"}
    assert whole.stop_reason == "tool_use"
    assert whole.usage.cache_read_input_tokens == 2
    assert (whole._request_id or "").startswith("req_")


def test_an_answer_may_be_sent_back_as_it_came(home: Path) -> None:
    with client_of(home, *CALL) as (client, resident):
        answer = client.messages.create(model=MODEL, max_tokens=64, messages=HI, tools=TOOLS)
        result = {"type": "tool_result", "tool_use_id": "call_1", "content": "rain"}
        messages: Any = [
            *HI,
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [result]},
        ]
        client.messages.create(model=MODEL, max_tokens=64, messages=messages, tools=TOOLS)
    *_, caller, found = resident.asks[-1].messages or ()
    assert caller["reasoning_content"] == "Rain?"
    assert caller["tool_calls"][0]["id"] == found["tool_call_id"] == "call_1"


class Count(BaseModel):
    n: int


def test_a_parsed_answer_has_its_type(home: Path) -> None:
    events = (TextDelta(0, '{"n": '), TextDelta(0, "3}"), Finish(0, "stop"), USAGE)
    with client_of(home, *events) as (client, resident):
        message = client.messages.parse(
            model=MODEL, max_tokens=64, messages=HI, output_format=Count
        )
    assert message.parsed_output == Count(n=3)
    form = resident.ask.response_format
    assert form is not None
    assert form.kind == "json_schema"


def test_tokens_are_counted(home: Path) -> None:
    with client_of(home) as (client, _):
        counted = client.messages.count_tokens(model=MODEL, messages=HI, tools=TOOLS, system="x")
    assert counted.input_tokens > 0


@pytest.mark.parametrize(
    ("refuses", "kind"),
    [
        (PromptTooLong("9 tokens do not fit 8"), anthropic.BadRequestError),
        (QueueFull("too many wait"), anthropic.RateLimitError),
        (ModelLoading("not yet"), anthropic.ServiceUnavailableError),
    ],
)
def test_errors_are_the_clients_own(
    home: Path, refuses: FreeholdError, kind: type[anthropic.APIStatusError]
) -> None:
    with client_of(home, refuses=refuses) as (client, _), pytest.raises(kind) as caught:
        client.messages.create(model=MODEL, max_tokens=64, messages=HI)
    assert caught.value.request_id
    assert str(refuses) in caught.value.message


def test_an_unknown_model_is_not_found(home: Path) -> None:
    with client_of(home) as (client, _), pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="elsewhere", max_tokens=64, messages=HI)


def test_a_stream_that_breaks_raises(home: Path) -> None:
    events = (TextDelta(0, "Hel"), EngineDied("it ended"))
    with client_of(home, *events) as (client, _):
        stream = client.messages.create(model=MODEL, max_tokens=64, messages=HI, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="it ended"):
            list(stream)
