"""An agent framework over the real server: pydantic-ai, with its own client, schemas and loop.

Nothing is scripted: every call comes from a model. The starter is too small to plan, so the
framework offers one tool at a time, which it has a capability for, and asks for a call; the
server's grammar sees to it that every call is whole. What is held with the starter is that the task
comes to its end, with a larger model also that the end is right.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, RunContext, ToolDefinition
from pydantic_ai.capabilities import PrepareOutputTools, PrepareTools
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RunUsage

from tests.server.live import LiveServer, living

pytestmark = pytest.mark.weights

# The file of Qwen2.5-Coder-0.5B-Instruct, Q4_K_M: for tests alone.
TOOL_MODEL = os.environ.get("FREEHOLD_TEST_TOOL_MODEL")
TOOL_MODEL_SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"

TASK = "Measure the sheet, compute its area with the tool, and say what the area is."
SETTINGS = ModelSettings(temperature=0, max_tokens=100, parallel_tool_calls=False)
Kind = type[OpenAIChatModel] | type[OpenAIResponsesModel]
KINDS = pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])


class Sheet(BaseModel):
    """The area of the sheet."""

    area_cm2: Annotated[int, Field(ge=0, le=9999)]


class Bench:
    """Two tools, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def measure(self) -> dict[str, int]:
        """Measure the sheet: its length and its width in cm."""
        self.asked.append(())
        return {"length_cm": 37, "width_cm": 21}

    def area(
        self,
        length_cm: Annotated[int, Field(ge=0, le=99)],
        width_cm: Annotated[int, Field(ge=0, le=99)],
    ) -> int:
        """The area of a sheet with these sides, in square cm."""
        self.asked.append((length_cm, width_cm))
        return length_cm * width_cm


def returned(messages: list[ModelMessage]) -> list[str]:
    return [
        part.tool_name for m in messages for part in m.parts if isinstance(part, ToolReturnPart)
    ]


async def in_turn(ctx: RunContext[None], tools: list[ToolDefinition]) -> list[ToolDefinition]:
    """The tool whose turn it is, where it is among these."""
    turn = ("measure", "area", "final_result")[len(returned(ctx.messages))]
    return [tool for tool in tools if tool.name == turn]


def agent_of(client: AsyncOpenAI, model: str, kind: Kind, bench: Bench) -> Agent[None, Sheet]:
    return Agent(
        kind(model, provider=OpenAIProvider(openai_client=client)),
        output_type=Sheet,
        tools=[bench.measure, bench.area],
        capabilities=[PrepareTools(in_turn), PrepareOutputTools(in_turn)],
        model_settings=SETTINGS,
        retries=0,
    )


@dataclass(frozen=True)
class Done:
    """What came of the task, and what was asked of the tools on the way."""

    sheet: Sheet
    returned: list[str]
    asked: list[tuple[int, ...]]
    usage: RunUsage


def done(live: LiveServer, kind: Kind, *, streamed: bool = False) -> Done:
    async def run() -> Done:
        bench = Bench()
        async with AsyncOpenAI(api_key="none", base_url=live.openai_url, max_retries=0) as client:
            agent = agent_of(client, live.model, kind, bench)
            if not streamed:
                whole = await agent.run(TASK)
                names = returned(whole.all_messages())
                return Done(whole.output, names, bench.asked, whole.usage)
            async with agent.run_stream(TASK) as stream:
                *_, last = [sheet async for sheet in stream.stream_output(debounce_by=None)]
                names = returned(stream.all_messages())
                return Done(last, names, bench.asked, stream.usage)

    return asyncio.run(run())


@KINDS
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_task_of_two_tools_comes_to_its_end(
    live_server: LiveServer, kind: Kind, streamed: bool
) -> None:
    task = done(live_server, kind, streamed=streamed)
    assert task.asked[0] == ()
    ((length_cm, width_cm),) = task.asked[1:]
    assert 0 <= length_cm <= 99
    assert 0 <= width_cm <= 99
    assert 0 <= task.sheet.area_cm2 <= 9999
    assert task.returned[:2] == ["measure", "area"]
    assert task.usage.requests == 3
    assert task.usage.input_tokens > task.usage.output_tokens > 0


@pytest.fixture(scope="module")
def tool_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with the larger model; skipped without its file."""
    if TOOL_MODEL is None:
        pytest.skip("FREEHOLD_TEST_TOOL_MODEL names no file")
    with Path(TOOL_MODEL).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == TOOL_MODEL_SHA256
    with living(Path(TOOL_MODEL), tmp_path_factory.mktemp("tool-model")) as server:
        yield server


@KINDS
def test_a_larger_model_also_gets_it_right(tool_server: LiveServer, kind: Kind) -> None:
    task = done(tool_server, kind)
    assert task.asked == [(), (37, 21)]
    assert task.sheet == Sheet(area_cm2=777)
