"""Ollama's own client, over the whole app and a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
import ollama
import pytest
from fastapi import FastAPI

from freehold.errors import EngineDied, FreeholdError, PromptTooLong, QueueFull
from freehold.server.ask import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenText,
    ToolCallDelta,
    ToolCallStart,
)
from tests.server.scripted import MODEL, USAGE, ScriptedResident
from tests.server.whole import whole_app

T = TypeVar("T")

HI = [{"role": "user", "content": "hi"}]
CALL: tuple[Event, ...] = (
    ReasoningDelta(0, "Rain?"),
    ToolCallStart(0, 0, "call_1", "weather"),
    ToolCallDelta(0, 0, '{"city": "Ro'),
    ToolCallDelta(0, 0, 'me"}'),
    Finish(0, "tool_calls"),
    USAGE,
)


def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name
    """
    return f"rain in {city}"


def ask(
    home: Path,
    conversation: Callable[[ollama.AsyncClient], Awaitable[T]],
    resident: ScriptedResident | None = None,
) -> T:
    """What the conversation comes to. The client's synchronous form speaks to real sockets only."""

    async def talk(app: FastAPI) -> T:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with ollama.AsyncClient("http://localhost", transport=transport) as client:
            return await conversation(client)

    with whole_app(home, resident) as whole:
        return asyncio.run(talk(whole.app))


def test_chat_whole_and_streamed_are_the_same(home: Path) -> None:
    async def talk(client: ollama.AsyncClient) -> None:
        whole = await client.chat(model=MODEL, messages=HI)
        parts = [part async for part in await client.chat(model=MODEL, messages=HI, stream=True)]
        assert whole.message.content == "Hello world"
        assert "".join(part.message.content or "" for part in parts) == "Hello world"
        last = parts[-1]
        assert (last.done, last.done_reason, last.eval_count) == (True, "stop", 3)
        assert whole.prompt_eval_count == 7

    ask(home, talk)


def test_a_function_of_the_client_is_called_and_answered(home: Path) -> None:
    async def talk(client: ollama.AsyncClient) -> None:
        reply = await client.chat(model=MODEL, messages=HI, tools=[weather], think=True)
        assert reply.message.thinking == "Rain?"
        (call,) = reply.message.tool_calls or ()
        found = weather(**call.function.arguments)
        result = {"role": "tool", "content": found, "tool_name": "weather"}
        await client.chat(model=MODEL, messages=[*HI, reply.message, result], tools=[weather])

    resident = ScriptedResident(CALL)
    ask(home, talk, resident)
    (tool,) = resident.asks[0].tools
    assert (tool.name, tool.parameters["required"]) == ("weather", ["city"])
    *_, caller, found = resident.asks[1].messages or ()
    assert found == {
        "role": "tool",
        "content": "rain in Rome",
        "tool_call_id": caller["tool_calls"][0]["id"],
        "name": "weather",
    }


def test_generate_gives_logprobs(home: Path) -> None:
    async def talk(client: ollama.AsyncClient) -> None:
        reply = await client.generate(model=MODEL, prompt="hi", logprobs=True, top_logprobs=1)
        (noted,) = reply.logprobs or ()
        assert (noted.token, noted.logprob) == ("Hi", -0.5)
        assert len(noted.top_logprobs or ()) == 1

    hi = TokenText(1, "Hi", b"Hi", -0.5, (TokenText(1, "Hi", b"Hi", -0.5),))
    ask(home, talk, ScriptedResident((TextDelta(0, "Hi", (hi,)), Finish(0, "stop"), USAGE)))


def test_options_of_the_clients_own_form_arrive(home: Path) -> None:
    options = ollama.Options(temperature=0.25, num_predict=9, stop=["END"], mirostat=0)

    async def talk(client: ollama.AsyncClient) -> None:
        await client.chat(MODEL, HI, options=options, format="json", keep_alive="5m")

    resident = ScriptedResident()
    ask(home, talk, resident)
    asked = resident.ask
    assert (asked.sampling.temperature, asked.max_tokens, asked.stop) == (0.25, 9, ("END",))
    assert asked.response_format is not None


def test_models_are_listed(home: Path) -> None:
    async def talk(client: ollama.AsyncClient) -> None:
        (listed,) = (await client.list()).models
        (running,) = (await client.ps()).models
        assert listed.model == running.model == f"{MODEL}:latest"
        assert listed.size == 1_000_000
        assert running.context_length == 2048
        assert listed.details is not None
        assert listed.details.parameter_size == "1.00M"

    ask(home, talk)


@pytest.mark.parametrize(
    ("refuses", "status"),
    [(PromptTooLong("9 tokens do not fit 8"), 400), (QueueFull("too many wait"), 429)],
)
def test_errors_are_the_clients_own(home: Path, refuses: FreeholdError, status: int) -> None:
    async def whole(client: ollama.AsyncClient) -> None:
        await client.chat(model=MODEL, messages=HI)

    async def streamed(client: ollama.AsyncClient) -> None:
        async for _ in await client.chat(model=MODEL, messages=HI, stream=True):
            pass

    for talk in (whole, streamed):
        with pytest.raises(ollama.ResponseError) as caught:
            ask(home, talk, ScriptedResident(refuses=refuses))
        assert caught.value.status_code == status
        assert str(refuses) in caught.value.error


def test_an_unknown_model_is_not_found(home: Path) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        ask(home, lambda client: client.show("elsewhere"))
    assert caught.value.status_code == 404


def test_what_changes_models_is_refused(home: Path) -> None:
    async def talk(client: ollama.AsyncClient) -> None:
        for change in (client.pull, client.push, client.delete):
            with pytest.raises(ollama.ResponseError, match="not offered over HTTP"):
                await change(MODEL)

    ask(home, talk)


def test_a_stream_that_breaks_raises(home: Path) -> None:
    async def talk(client: ollama.AsyncClient) -> None:
        async for _ in await client.chat(model=MODEL, messages=HI, stream=True):
            pass

    resident = ScriptedResident((TextDelta(0, "Hel"), EngineDied("it ended")))
    with pytest.raises(ollama.ResponseError, match="it ended"):
        ask(home, talk, resident)
