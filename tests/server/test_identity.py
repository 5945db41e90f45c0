"""An answer over HTTP is the same to the last bit, whoever else is answered, whatever is cached."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.server.live import LiveServer

pytestmark = pytest.mark.weights

_TOKENS = 12
_OTHERS = 31

GREEDY = {"temperature": 0}
SEEDED = {"temperature": 1, "top_p": 0.9, "seed": 11, "presence_penalty": 0.5}
SAMPLING = pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])


def asked(server: LiveServer, text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    return {
        "model": server.model,
        "messages": messages,
        "max_tokens": _TOKENS,
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 4,
        **more,
    }


async def answer(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    reply = await client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


def said(reply: dict[str, Any]) -> str:
    """The text with every bit of the numbers it was chosen by."""
    (choice,) = reply["choices"]
    return json.dumps([choice["message"]["content"], choice["logprobs"]])


def cached_tokens(reply: dict[str, Any]) -> int:
    return int(reply["usage"]["prompt_tokens_details"]["cached_tokens"])


async def other(client: httpx.AsyncClient, body: dict[str, Any], begun: asyncio.Event) -> None:
    """An answer that goes on until somebody stops listening."""
    async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.status_code == 200
        async for piece in reply.aiter_raw():
            if b"content" in piece:
                begun.set()


def client_of(server: LiveServer) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits)


async def in_company(
    client: httpx.AsyncClient, server: LiveServer, bodies: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Each body's answer while 31 others run, from before it begins until after it ends."""
    begun = [asyncio.Event() for _ in range(_OTHERS)]
    others = [
        # Prompts of many lengths, so that chunks of them share steps with the answer's tokens.
        asyncio.create_task(other(client, other_asked(server, f"{i} " * (1 + 5 * (i % 9)), i), e))
        for i, e in enumerate(begun)
    ]
    try:
        await asyncio.gather(*(event.wait() for event in begun))
        answers = await asyncio.gather(*(answer(client, body) for body in bodies))
        assert not any(task.done() for task in others), "the company left too early"
        return answers
    finally:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def other_asked(server: LiveServer, text: str, number: int) -> dict[str, Any]:
    body = asked(server, text, temperature=number % 2, stream=True, max_tokens=600)
    return {name: value for name, value in body.items() if "logprobs" not in name}


def test_an_answer_is_the_same_alone_and_while_31_others_run(live_server: LiveServer) -> None:
    bodies = [asked(live_server, "Tell me of the sea.", **each) for each in (GREEDY, SEEDED)]

    async def both() -> list[list[dict[str, Any]]]:
        async with client_of(live_server) as client:
            alone = [await answer(client, body) for body in bodies]
            return [alone, await in_company(client, live_server, bodies)]

    alone, beside = asyncio.run(both())
    assert alone[0]["choices"][0]["message"]["content"]
    assert said(alone[0]) != said(alone[1])
    assert [said(reply) for reply in beside] == [said(reply) for reply in alone]


@SAMPLING
def test_an_answer_is_the_same_after_its_prompt_was_met_in_the_cache(
    live_server: LiveServer, sampling: dict[str, Any]
) -> None:
    mark = "first" if sampling is GREEDY else "second"
    body = asked(live_server, f"A {mark} list: " + " ".join(map(str, range(120))), **sampling)

    async def both() -> list[dict[str, Any]]:
        async with client_of(live_server) as client:
            return [await answer(client, body) for _ in range(2)]

    fresh, met = asyncio.run(both())
    assert cached_tokens(fresh) < 64
    assert cached_tokens(met) > 128
    assert said(met) == said(fresh)


@SAMPLING
def test_the_second_turn_is_the_same_from_the_cache_and_computed_anew(
    live_server: LiveServer, sampling: dict[str, Any]
) -> None:
    mark = "third" if sampling is GREEDY else "fourth"
    body = asked(live_server, f"A {mark} list: " + " ".join(map(str, range(120))), **sampling)

    async def turns() -> tuple[dict[str, Any], dict[str, Any]]:
        async with client_of(live_server) as client:
            first = await answer(client, body)
            reply = {"role": "assistant", "content": first["choices"][0]["message"]["content"]}
            talk = [*body["messages"], reply, {"role": "user", "content": "Go on."}]
            # A prompt whose log probabilities are asked for meets no cached page.
            anew = await answer(client, {**body, "messages": talk, "prompt_logprobs": 0})
            return anew, await answer(client, {**body, "messages": talk})

    anew, met = asyncio.run(turns())
    assert cached_tokens(anew) == 0
    assert cached_tokens(met) > 128
    assert said(met) == said(anew)
