"""What a client of /api/chat and /api/generate is given: lines, measures, errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from freehold.errors import (
    EngineDied,
    FreeholdError,
    PromptTooLong,
    QueueFull,
    UnsupportedField,
)
from freehold.server.ask import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenText,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from tests.server.ollama.asking import WEATHER, chat, generate, lines
from tests.server.scripted import HELLO, MODEL, ScriptedResident

MEASURED = Usage(
    prompt_tokens=7, completion_tokens=3, cached_tokens=2, prompt_s=0.25, generate_s=1.5
)
CALLS: tuple[Event, ...] = (
    ReasoningDelta(0, "Which "),
    ReasoningDelta(0, "city?"),
    TextDelta(0, "Looking."),
    ToolCallStart(0, 0, "call_1", "weather"),
    ToolCallDelta(0, 0, '{"city"'),
    ToolCallDelta(0, 0, ': "Bern"}'),
    ToolCallStart(0, 1, "call_2", "weather"),
    ToolCallDelta(0, 1, "{}"),
    Finish(0, "tool_calls"),
    MEASURED,
)
MEASURES = {
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}


def scripted(*events: Event | FreeholdError) -> ScriptedResident:
    return ScriptedResident(events=events or (*HELLO[:-1], MEASURED))


def test_a_whole_answer_has_the_fields_of_the_interface() -> None:
    resident = scripted()
    reply = chat(resident).json()
    assert datetime.fromisoformat(reply["created_at"]).tzinfo is not None
    assert reply["model"] == MODEL
    assert reply["message"] == {"role": "assistant", "content": "Hello world"}
    assert (reply["done"], reply["done_reason"]) == (True, "stop")
    assert (reply["prompt_eval_count"], reply["eval_count"]) == (7, 3)
    assert (reply["prompt_eval_duration"], reply["eval_duration"]) == (250_000_000, 1_500_000_000)
    assert reply["total_duration"] >= reply["load_duration"] > 0
    assert [answer.closed for answer in resident.answers] == [True]


def test_generate_answers_in_response() -> None:
    reply = generate(scripted()).json()
    assert reply["response"] == "Hello world"
    assert "message" not in reply
    assert reply.keys() >= MEASURES


def test_answers_stream_unless_told_otherwise() -> None:
    resident = scripted()
    first, second, last = lines(chat(resident, stream=None))
    assert first["message"] == {"role": "assistant", "content": "Hello"}
    assert second["message"]["content"] == " world"
    assert not first["done"]
    assert not first.keys() & MEASURES
    assert last["done"]
    assert last["message"] == {"role": "assistant", "content": ""}
    assert last.keys() >= MEASURES
    assert [answer.closed for answer in resident.answers] == [True]


def test_generate_streams_responses() -> None:
    texts = [line["response"] for line in lines(generate(scripted(), stream=True))]
    assert texts == ["Hello", " world", ""]


def test_calls_come_whole_and_thinking_apart() -> None:
    reply = chat(scripted(*CALLS), tools=[WEATHER]).json()
    assert reply["message"] == {
        "role": "assistant",
        "content": "Looking.",
        "thinking": "Which city?",
        "tool_calls": [
            {
                "id": "call_1",
                "function": {"index": 0, "name": "weather", "arguments": {"city": "Bern"}},
            },
            {"id": "call_2", "function": {"index": 1, "name": "weather", "arguments": {}}},
        ],
    }
    assert reply["done_reason"] == "stop"


def test_a_stream_adds_up_to_the_whole_answer() -> None:
    whole = chat(scripted(*CALLS), tools=[WEATHER]).json()["message"]
    messages = [line["message"] for line in lines(chat(scripted(*CALLS), stream=True))]
    assert "".join(message["content"] for message in messages) == whole["content"]
    assert "".join(message.get("thinking", "") for message in messages) == whole["thinking"]
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    assert calls == whole["tool_calls"]


def test_generate_has_thinking_too() -> None:
    events = (ReasoningDelta(0, "Hm."), TextDelta(0, "Hi"), Finish(0, "stop"), MEASURED)
    reply = generate(scripted(*events)).json()
    assert (reply["thinking"], reply["response"]) == ("Hm.", "Hi")


def test_a_call_that_was_cut_off_is_not_claimed() -> None:
    reply = chat(scripted(*CALLS[3:5], Finish(0, "length"), MEASURED)).json()
    assert reply["message"] == {"role": "assistant", "content": '{"city"'}
    assert reply["done_reason"] == "length"


def token(text: str, logprob: float, top: Sequence[TokenText] = ()) -> TokenText:
    return TokenText(1, text, text.encode(), logprob, tuple(top))


def test_logprobs_stand_beside_their_text() -> None:
    hi = token("Hi", -0.5, [token("Hi", -0.5), token("Yo", -1.5)])
    end = token("!", -0.25)
    events = (
        TextDelta(0, "Hi", (hi,)),
        TextDelta(0, "", (end,)),
        Finish(0, "stop"),
        MEASURED,
    )
    noted: list[dict[str, Any]] = [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": [72, 105],
            "top_logprobs": [
                {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]},
                {"token": "Yo", "logprob": -1.5, "bytes": [89, 111]},
            ],
        },
        {"token": "!", "logprob": -0.25, "bytes": [33]},
    ]
    assert chat(scripted(*events), logprobs=True).json()["logprobs"] == noted
    streamed = lines(chat(scripted(*events), logprobs=True, stream=True))
    assert [note for line in streamed for note in line.get("logprobs", ())] == noted


def test_an_error_on_the_way_is_the_last_line() -> None:
    *_, last = lines(chat(scripted(TextDelta(0, "Hel"), EngineDied("it ended")), stream=True))
    assert last == {"error": "it ended"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_comes_before_the_stream(stream: bool) -> None:
    response = chat(ScriptedResident(refuses=QueueFull("too many wait")), stream=stream)
    assert response.status_code == 429
    assert response.json() == {"error": "too many wait"}


def test_an_error_of_a_whole_answer_has_its_status() -> None:
    assert chat(scripted(EngineDied("it ended"))).status_code == 503


@pytest.mark.parametrize("stream", [None, False])
def test_without_messages_the_model_is_loaded(stream: bool | None) -> None:
    resident = ScriptedResident()
    reply = chat(resident, messages=[], stream=stream).json()
    assert reply["message"] == {"role": "assistant", "content": ""}
    assert (reply["done"], reply["done_reason"]) == (True, "load")
    assert resident.asks == []


def test_without_a_prompt_the_model_is_loaded() -> None:
    reply = generate(prompt=None).json()
    assert (reply["response"], reply["done"], reply["done_reason"]) == ("", True, "load")


def test_a_refusal_of_the_runtime_names_this_interfaces_field() -> None:
    refuses = UnsupportedField("this model does not reason", param="thinking")
    response = chat(ScriptedResident(refuses=refuses), think=True)
    assert response.json() == {"error": "think: this model does not reason"}
    long = PromptTooLong("9 tokens do not fit 8", param="messages")
    response = generate(ScriptedResident(refuses=long))
    assert response.json() == {"error": "prompt: 9 tokens do not fit 8"}
