"""Events become chat completions, whole and in chunks, that OpenAI's own types accept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from freehold.errors import (
    BadSchema,
    DeadlineExceeded,
    EngineDied,
    PromptTooLong,
    QueueFull,
    RequestError,
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
)
from tests.server.openai.posting import HI, answered, post, streamed
from tests.server.scripted import CREATED, HELLO, MODEL, USAGE, ScriptedResident

CHAT = "/v1/chat/completions"

CALLS: tuple[Event, ...] = (
    ReasoningDelta(0, "Two "),
    ReasoningDelta(0, "calls."),
    TextDelta(0, "Wait."),
    ToolCallStart(0, 0, "call_1", "weather"),
    ToolCallDelta(0, 0, '{"city":'),
    ToolCallDelta(0, 0, '"Rome"}'),
    ToolCallStart(0, 1, "call_2", "time"),
    ToolCallDelta(0, 1, "{}"),
    Finish(0, "tool_calls"),
    USAGE,
)


def token(text: str, logprob: float, *top: TokenText) -> TokenText:
    return TokenText(1, text, text.encode(), logprob, top)


NOTED: tuple[Event, ...] = (
    TextDelta(0, "Hé", (token("Hé", -0.5, token("Hé", -0.5), token("Yo", -1.5)),)),
    TextDelta(0, "", (token("!", float("-inf")),)),
    Finish(0, "stop", "END"),
    USAGE,
)


def test_a_whole_answer_has_openai_s_form() -> None:
    reply = answered(CHAT)
    parsed = ChatCompletion.model_validate(reply, strict=True)
    assert parsed.choices[0].message.content == "Hello world"
    assert parsed.choices[0].finish_reason == "stop"
    assert parsed.model == MODEL
    assert parsed.id.startswith("chatcmpl-")
    assert parsed.created > CREATED
    assert parsed.system_fingerprint
    assert parsed.usage is not None
    assert (parsed.usage.prompt_tokens, parsed.usage.completion_tokens) == (7, 3)
    assert parsed.usage.total_tokens == 10
    assert parsed.usage.prompt_tokens_details is not None
    assert parsed.usage.prompt_tokens_details.cached_tokens == 2
    assert parsed.usage.completion_tokens_details is not None
    assert parsed.usage.completion_tokens_details.reasoning_tokens == 1


def test_the_fingerprint_is_the_same_from_answer_to_answer() -> None:
    assert answered(CHAT)["system_fingerprint"] == answered(CHAT)["system_fingerprint"]
    assert answered(CHAT)["id"] != answered(CHAT)["id"]


def test_calls_and_reasoning_are_told_apart_from_text() -> None:
    (choice,) = answered(CHAT, CALLS)["choices"]
    message = choice["message"]
    assert choice["finish_reason"] == "tool_calls"
    assert message["content"] == "Wait."
    assert message["reasoning"] == message["reasoning_content"] == "Two calls."
    assert message["tool_calls"] == [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
        },
        {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]


def test_a_call_without_text_has_no_content() -> None:
    silent = [e for e in CALLS if not isinstance(e, TextDelta | ReasoningDelta)]
    message = answered(CHAT, silent)["choices"][0]["message"]
    assert message["content"] is None
    assert answered(CHAT, [Finish(0, "length"), USAGE])["choices"][0]["message"]["content"] == ""


def test_log_probabilities_are_given_when_asked_for() -> None:
    (choice,) = answered(CHAT, NOTED, logprobs=True, top_logprobs=2)["choices"]
    content = choice["logprobs"]["content"]
    assert content[0]["token"] == "Hé"
    assert content[0]["bytes"] == list("Hé".encode())
    assert [other["logprob"] for other in content[0]["top_logprobs"]] == [-0.5, -1.5]
    # JSON has no infinity.
    assert content[1]["logprob"] == -9999.0
    assert choice["stop_reason"] == "END"
    assert answered(CHAT, NOTED)["choices"][0]["logprobs"] is None


def test_metadata_and_tier_are_given_back() -> None:
    reply = answered(CHAT, metadata={"a": "b"}, service_tier="auto")
    assert (reply["metadata"], reply["service_tier"]) == ({"a": "b"}, "default")


def test_the_prompt_s_log_probabilities_have_vllm_s_form() -> None:
    top = (TokenText(5, "b", b"b", -0.1),)
    notes = (None, TokenText(6, "a", b"a", -2.0, top))
    resident = ScriptedResident(prompt_logprobs=notes)
    body = {"model": MODEL, "messages": HI, "prompt_logprobs": 1}
    assert post(CHAT, body, resident).json()["prompt_logprobs"] == [
        None,
        {
            "5": {"logprob": -0.1, "rank": 1, "decoded_token": "b"},
            "6": {"logprob": -2.0, "rank": None, "decoded_token": "a"},
        },
    ]


def test_a_stream_begins_with_the_role_and_ends_with_done() -> None:
    chunks, done = streamed(CHAT)
    assert done
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert "usage" not in chunk
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [c["delta"].get("content") for c in choices] == ["", "Hello", " world", None]
    assert [c["finish_reason"] for c in choices] == [None, None, None, "stop"]
    assert len({(c["id"], c["created"], c["model"], c["system_fingerprint"]) for c in chunks}) == 1


def test_usage_comes_in_a_last_chunk_without_choices() -> None:
    chunks, _ = streamed(CHAT, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 10
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def joined_calls(chunks: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The calls as clients put them together: by index, the pieces of the arguments joined."""
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in chunk["choices"][0]["delta"].get("tool_calls", ()):
            call = calls.setdefault(piece["index"], {"arguments": ""})
            call["id"] = call.get("id") or piece["id"]
            call["name"] = call.get("name") or piece["function"]["name"]
            call["arguments"] += piece["function"]["arguments"]
    return calls


def test_calls_are_streamed_in_pieces() -> None:
    chunks, _ = streamed(CHAT, CALLS)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    assert joined_calls(chunks) == {
        0: {"id": "call_1", "name": "weather", "arguments": '{"city":"Rome"}'},
        1: {"id": "call_2", "name": "time", "arguments": "{}"},
    }
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    for name in ("reasoning", "reasoning_content"):
        assert "".join(delta.get(name, "") for delta in deltas) == "Two calls."
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_each_choice_of_a_stream_has_its_role_once() -> None:
    two: list[Event] = [
        TextDelta(0, "a"),
        TextDelta(1, "b"),
        Finish(1, "stop"),
        TextDelta(0, "c"),
        Finish(0, "length"),
        USAGE,
    ]
    chunks, _ = streamed(CHAT, two, n=2)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [c["index"] for c in choices if c["delta"].get("role")] == [0, 1]
    assert {c["index"]: c["finish_reason"] for c in choices if c["finish_reason"]} == {
        0: "length",
        1: "stop",
    }
    whole = answered(CHAT, two, n=2)["choices"]
    assert [(c["index"], c["message"]["content"]) for c in whole] == [(0, "ac"), (1, "b")]


def test_log_probabilities_are_streamed_with_their_text() -> None:
    chunks, _ = streamed(CHAT, NOTED, logprobs=True)
    noted = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [n and [t["token"] for t in n["content"]] for n in noted] == [None, ["Hé"], ["!"], None]


def test_an_error_on_the_way_is_the_last_word() -> None:
    chunks, done = streamed(CHAT, [TextDelta(0, "a"), EngineDied("it died")])
    assert not done
    assert chunks[-1]["error"]["type"] == "server_error"
    assert chunks[-1]["error"]["code"] == "capacity.engine_died"
    resident = ScriptedResident([TextDelta(0, "a"), DeadlineExceeded("late")])
    reply = post(CHAT, {"model": MODEL, "messages": HI}, resident)
    assert reply.status_code == 504
    assert resident.answers[0].closed


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PromptTooLong("too long", param="messages"), 400, "context_length_exceeded"),
        (QueueFull("full"), 429, "capacity.queue_full"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_comes_before_any_stream(
    error: PromptTooLong | QueueFull, status: int, code: str, stream: bool
) -> None:
    resident = ScriptedResident(refuses=error)
    reply = post(CHAT, {"model": MODEL, "messages": HI, "stream": stream}, resident)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("error", "fields", "param"),
    [
        (UnsupportedField("no", param="thinking"), {}, "reasoning_effort"),
        (BadSchema("no"), {"guided_regex": "a"}, "guided_regex"),
        (BadSchema("no"), {"response_format": {"type": "json_object"}}, "response_format"),
        (BadSchema("no", param="tools"), {"guided_regex": "a"}, "tools"),
    ],
)
def test_the_runtime_s_errors_name_this_interface_s_fields(
    error: RequestError, fields: dict[str, Any], param: str
) -> None:
    body = {"model": MODEL, "messages": HI, **fields}
    reply = post(CHAT, body, ScriptedResident(refuses=error))
    assert reply.json()["error"]["param"] == param


def test_a_stream_that_is_left_closes_its_answer() -> None:
    from freehold.server.routes.openai.chat import _frames
    from freehold.server.routes.openai.replies import Chunks
    from tests.server.openai.posting import chat_ask
    from tests.server.scripted import ScriptedAnswer

    answer: Any = ScriptedAnswer(HELLO)

    async def leave() -> None:
        chunks = Chunks({"id": "x"}, with_usage=False)
        frames: AsyncIterator[str] = _frames(answer, chunks, chat_ask(), with_usage=False)
        await anext(frames)
        await frames.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    assert answer.closed
