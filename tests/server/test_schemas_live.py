"""Generated schemas and tools against the real server: refused by keyword, or enforced.

At temperature 1 with a cap on tokens: an answer that ends by itself is valid for its schema; one
that met the cap says so. Nothing in between. Validity is the jsonschema_rs package's word.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.chat.schemas import generated_schemas, generated_tools
from tests.server.live import LiveServer

pytestmark = pytest.mark.weights

AT_ONCE = 24
SHORT_TOKENS, LONG_TOKENS = 56, 96
Schema = dict[str, Any]


async def all_of(server: LiveServer, bodies: Iterable[Schema]) -> list[httpx.Response]:
    """The responses to all bodies, in their order, some at once."""
    places = asyncio.Semaphore(AT_ONCE)
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=server.url, timeout=300, limits=limits) as client:

        async def one(body: Schema) -> httpx.Response:
            async with places:
                return await client.post("/v1/chat/completions", json=body)

        return await asyncio.gather(*map(one, bodies))


def refused_by_name(response: httpx.Response) -> bool:
    """Whether a refusal is a 400 that says which part cannot be enforced."""
    error = response.json()["error"]
    return response.status_code == 400 and bool(error["param"]) and len(error["message"]) > 20


def valid(schema: Any, text: str) -> bool:
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid(
        json.loads(text)
    )


def check_schemas(server: LiveServer, count: int, cap: int) -> Counter[str]:
    schemas = list(generated_schemas(count, seed=5))
    bodies = [
        {
            "model": server.model,
            "messages": [{"role": "user", "content": "Answer with some JSON."}],
            "temperature": 1,
            "seed": number,
            "max_tokens": cap,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            },
        }
        for number, schema in enumerate(schemas)
    ]
    found = Counter[str]()
    for schema, response in zip(schemas, asyncio.run(all_of(server, bodies)), strict=True):
        if response.status_code != 200:
            assert refused_by_name(response), (response.status_code, response.text, schema)
            found["refused"] += 1
            continue
        (choice,) = response.json()["choices"]
        found[choice["finish_reason"]] += 1
        if choice["finish_reason"] == "stop":
            assert valid(schema, choice["message"]["content"]), (schema, choice)
        else:
            assert choice["finish_reason"] == "length"
            assert response.json()["usage"]["completion_tokens"] == cap
    return found


def check_tools(server: LiveServer, count: int, cap: int) -> Counter[str]:
    tools = list(generated_tools(count, seed=6))
    bodies = [
        {
            "model": server.model,
            "messages": [{"role": "user", "content": "Use the tool."}],
            "temperature": 1,
            "seed": number,
            "max_tokens": cap,
            "tools": [{"type": "function", "function": {**tool, "strict": True}}],
            "tool_choice": "required",
            "parallel_tool_calls": False,
        }
        for number, tool in enumerate(tools)
    ]
    found = Counter[str]()
    for tool, response in zip(tools, asyncio.run(all_of(server, bodies)), strict=True):
        if response.status_code != 200:
            assert refused_by_name(response), (response.status_code, response.text, tool)
            found["refused"] += 1
            continue
        (choice,) = response.json()["choices"]
        found[choice["finish_reason"]] += 1
        if choice["finish_reason"] == "tool_calls":
            (call,) = choice["message"]["tool_calls"]
            assert call["function"]["name"] == tool["name"]
            assert valid(tool["parameters"], call["function"]["arguments"]), (tool, call)
        else:
            assert choice["finish_reason"] == "length", (tool, choice)
    return found


def test_schemas_are_refused_by_keyword_or_enforced(live_server: LiveServer) -> None:
    found = check_schemas(live_server, 36, SHORT_TOKENS)
    assert found["stop"] > 6
    assert found["refused"] > 2


def test_tools_are_refused_by_keyword_or_enforced(live_server: LiveServer) -> None:
    found = check_tools(live_server, 18, SHORT_TOKENS)
    assert found["tool_calls"] > 3


@pytest.mark.slow
def test_a_thousand_schemas(live_server: LiveServer) -> None:
    found = check_schemas(live_server, 1000, LONG_TOKENS)
    assert found["stop"] > 300
    assert sum(found.values()) == 1000


@pytest.mark.slow
def test_three_hundred_tools(live_server: LiveServer) -> None:
    found = check_tools(live_server, 300, LONG_TOKENS)
    assert found["tool_calls"] > 100
    assert sum(found.values()) == 300
