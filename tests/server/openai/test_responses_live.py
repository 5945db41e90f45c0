"""OpenAI's own client holds conversations over `/v1/responses` with the starter model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel

from tests.server.live import LiveServer

pytestmark = pytest.mark.weights

BRIEF = "Answer in one short sentence."
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"enum": [1, 2]}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[OpenAI]:
    with OpenAI(api_key="none", base_url=live_server.openai_url, max_retries=0) as client:
        yield client


@pytest.fixture
def greedy(live_server: LiveServer) -> dict[str, Any]:
    return {"model": live_server.model, "temperature": 0, "max_output_tokens": 24}


def only_call(response: Response) -> ResponseFunctionToolCall:
    (call,) = [item for item in response.output if item.type == "function_call"]
    return call


def test_three_turns_are_the_conversation_they_would_be_when_sent_whole(
    client: OpenAI, greedy: dict[str, Any]
) -> None:
    asked = ["What is the capital of France?", "And of Italy?", "Which is larger?"]
    turns: list[Response] = []
    for question in asked:
        previous = turns[-1].id if turns else None
        turns.append(
            client.responses.create(input=question, previous_response_id=previous, **greedy)
        )
    sent: list[Any] = []
    for question, turn in zip(asked, turns, strict=True):
        sent.append({"role": "user", "content": question})
        again = client.responses.create(input=sent, store=False, **greedy)
        assert again.output_text == turn.output_text != ""
        assert turn.usage is not None
        assert again.usage is not None
        assert again.usage.input_tokens == turn.usage.input_tokens
        sent += turn.output
    assert client.responses.retrieve(turns[2].id) == turns[2]
    listed = list(client.responses.input_items.list(turns[2].id, order="asc", limit=2))
    assert len(listed) == 5
    for turn in turns:
        client.responses.delete(turn.id)
        with pytest.raises(NotFoundError):
            client.responses.retrieve(turn.id)


def test_counted_tokens_are_the_ones_that_are_used(
    client: OpenAI, greedy: dict[str, Any], live_server: LiveServer
) -> None:
    asked: dict[str, Any] = {"input": "Hello there", "instructions": BRIEF, "tools": [WEATHER]}
    counted = client.responses.input_tokens.count(model=live_server.model, **asked)
    used = client.responses.create(store=False, **asked, **greedy).usage
    assert used is not None
    assert counted.input_tokens == used.input_tokens


def test_a_stream_tells_what_the_whole_answer_says(client: OpenAI, greedy: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"input": "Name a colour.", "instructions": BRIEF, **greedy}
    whole = client.responses.create(**asked)
    events = list(client.responses.create(stream=True, **asked))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events if not event.type.endswith("delta")] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{whole.status}",
    ]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1
    assert "".join(deltas) == whole.output_text


def test_the_clients_own_stream_ends_in_a_kept_response(
    client: OpenAI, live_server: LiveServer
) -> None:
    with client.responses.stream(
        model=live_server.model,
        input="Say yes, and a colour.",
        max_output_tokens=200,
        text_format=Answer,
        temperature=0,
    ) as stream:
        final = stream.get_final_response()
    assert isinstance(final.output_parsed, Answer)
    assert client.responses.retrieve(final.id).output_text == final.output_text


def test_a_call_goes_out_and_its_output_comes_back(client: OpenAI, greedy: dict[str, Any]) -> None:
    greedy["max_output_tokens"] = 96
    asked: dict[str, Any] = {"input": "How is the weather in Oslo?", "tools": [WEATHER], **greedy}
    first = client.responses.create(tool_choice="required", parallel_tool_calls=False, **asked)
    assert first.status == "completed"
    call = only_call(first)
    arguments = json.loads(call.arguments)
    assert arguments["city"]
    assert arguments["days"] in (1, 2)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain, 7 degrees."}
    second = client.responses.create(
        **{**asked, "input": [output]}, previous_response_id=first.id, tool_choice="none"
    )
    assert second.output_text
    stateless = client.responses.create(
        **{**asked, "input": [{"role": "user", "content": asked["input"]}, call, output]},
        tool_choice="none",
        store=False,
    )
    assert stateless.output_text == second.output_text


def test_a_call_streams_its_arguments(client: OpenAI, greedy: dict[str, Any]) -> None:
    greedy["max_output_tokens"] = 96
    asked: dict[str, Any] = {
        "input": "How is the weather in Oslo?",
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
    }
    with client.responses.stream(**asked, **greedy) as stream:
        deltas = [
            event.delta
            for event in stream
            if event.type == "response.function_call_arguments.delta"
        ]
        call = only_call(stream.get_final_response())
    assert len(deltas) > 1
    assert "".join(deltas) == call.arguments
    assert call.name == "weather"


class Answer(BaseModel):
    """What the model must say, as the client writes its schema."""

    agrees: bool
    colour: Literal["blue", "green"]


def test_a_parsed_answer_has_its_form_at_any_temperature(
    client: OpenAI, live_server: LiveServer
) -> None:
    for _ in range(3):
        parsed = client.responses.parse(
            model=live_server.model,
            input="Is the sky blue?",
            text_format=Answer,
            temperature=1,
            max_output_tokens=200,
        )
        assert parsed.status == "completed"
        assert isinstance(parsed.output_parsed, Answer)


def test_an_answer_that_reached_its_limit_says_so(client: OpenAI, greedy: dict[str, Any]) -> None:
    greedy["max_output_tokens"] = 2
    cut = client.responses.create(input="Count to one hundred.", **greedy)
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert cut.usage is not None
    assert cut.usage.output_tokens == 2


def test_log_probabilities_spell_the_text(client: OpenAI, greedy: dict[str, Any]) -> None:
    said = client.responses.create(
        input="Name a colour.", include=["message.output_text.logprobs"], top_logprobs=2, **greedy
    )
    (message,) = said.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert part.logprobs is not None
    spelled = bytes(byte for token in part.logprobs for byte in token.bytes)
    assert spelled.decode() == part.text
    for token in part.logprobs:
        assert len(token.top_logprobs) == 2
        # Greedy: the chosen token is the likeliest.
        assert token.logprob == token.top_logprobs[0].logprob <= 0


def test_refusals_are_the_clients_typed_exceptions(
    client: OpenAI, greedy: dict[str, Any], live_server: LiveServer
) -> None:
    create = client.responses.create
    with pytest.raises(NotFoundError) as missing:
        create(**{**greedy, "model": "nothing"}, input="Hi")
    assert missing.value.code == "model_not_found"
    with pytest.raises(NotFoundError) as lost:
        create(input="Hi", previous_response_id="resp_1", **greedy)
    assert lost.value.param == "previous_response_id"
    with pytest.raises(BadRequestError) as unsupported:
        create(input="Hi", truncation="auto", **greedy)
    assert (unsupported.value.code, unsupported.value.param) == (
        "unsupported_parameter",
        "truncation",
    )
    with pytest.raises(BadRequestError) as long:
        create(input="word " * live_server.context_tokens, **greedy)
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "input")
    with pytest.raises(BadRequestError) as thinking:
        create(input="Hi", reasoning={"effort": "high"}, **greedy)
    assert thinking.value.param == "reasoning.effort"
    schema = {"type": "object", "properties": {"a": {"$ref": "https://example.com/a"}}}
    form: Any = {"format": {"type": "json_schema", "name": "a", "schema": schema}}
    with pytest.raises(BadRequestError) as unenforceable:
        create(input="Hi", text=form, **greedy)
    assert (unenforceable.value.param or "").startswith("text.format")
