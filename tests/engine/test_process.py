"""An engine in a process of its own: the same answers, its own death, and its return."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freehold.engine import wire
from freehold.engine.client import EngineProcess, Outputs
from freehold.engine.request import Output, Request, TokenLogprob
from freehold.engine.sampler import Sampling
from freehold.errors import (
    BadSampling,
    BadSchema,
    BadSetting,
    Draining,
    EngineDied,
    FreeholdError,
    PromptTooLong,
    QueueFull,
    Truncated,
)
from freehold.loading import load_gguf
from tests.engine.test_engine import alone, prompt
from tests.loading.small import Dims, small
from tests.waiting import PATIENCE_S

DIMS = Dims(kind="Q8_0", D=64, H=2, G=1, A=32, F=64, context_tokens=60_000)
# So many tokens take this model many seconds: whoever asks for them is never answered in time.
ENDLESS = 50_000
KV_BYTES = 64 << 20


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(DIMS).write(tmp_path_factory.mktemp("m") / "m.gguf")


def settings_for(file: Path, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "chat",
        "path": str(file),
        "threads": 1,
        "kv_bytes": KV_BYTES,
        "kv_bits": 16,
        "context_tokens": None,
        "max_running": 4,
        "max_waiting": 2,
        **changes,
    }


def with_engine(settings: dict[str, Any], body: Callable[[EngineProcess], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = EngineProcess(settings)
        await asyncio.wait_for(engine.start(), PATIENCE_S)
        try:
            await asyncio.wait_for(body(engine), PATIENCE_S)
        finally:
            await engine.close()

    asyncio.run(run())


async def answer(engine: EngineProcess, request: Request) -> list[int]:
    outputs = Outputs(engine)
    await outputs.submit(request)
    tokens: list[int] = []
    while True:
        _, output = await outputs.next()
        tokens += output.tokens
        if output.finish_reason is not None:
            return tokens


async def to_the_end(outputs: Outputs) -> None:
    while True:
        await outputs.next()


def test_answers_as_the_engine_in_this_process_does(path: Path) -> None:
    asked = [
        Request(
            id=str(i),
            tokens=prompt(50 + i, seed=i),
            max_tokens=30,
            sampling=Sampling(temperature=1.0, seed=i, logit_bias=((5, 1.0),)),
        )
        for i in range(4)
    ]

    async def body(engine: EngineProcess) -> None:
        assert engine.info["vocabulary"] == DIMS.V
        assert engine.info["context_tokens"] == DIMS.context_tokens
        answers = await asyncio.gather(*(answer(engine, request) for request in asked))
        model = load_gguf(path).model
        assert answers == [alone(model, request) for request in asked]

    with_engine(settings_for(path), body)


def test_refusals_come_back_as_themselves(path: Path) -> None:
    good = Request(id="a", tokens=prompt(9), max_tokens=ENDLESS)

    async def body(engine: EngineProcess) -> None:
        with pytest.raises(PromptTooLong) as caught:
            await answer(engine, replace(good, max_tokens=1 << 30))
        assert caught.value.expected
        with pytest.raises(BadSchema):
            await answer(engine, replace(good, grammar="start: nothing"))
        outputs = Outputs(engine)
        for i in range(6):  # four run, two wait
            await outputs.submit(replace(good, id=f"q{i}"))
        with pytest.raises(QueueFull) as full:
            await outputs.submit(replace(good, id="one more"))
        assert full.value.retry_after_s
        outputs.cancel()
        assert await answer(engine, replace(good, max_tokens=3))

    with_engine(settings_for(path), body)


def test_a_killed_engine_fails_its_requests_and_comes_back(path: Path) -> None:
    endless = Request(id="a", tokens=prompt(9), max_tokens=ENDLESS)

    async def body(engine: EngineProcess) -> None:
        for i in range(3):
            outputs = Outputs(engine)
            await outputs.submit(replace(endless, id=f"a{i}"))
            await outputs.next()
            before = engine.pid
            assert before is not None
            os.kill(before, signal.SIGKILL)
            with pytest.raises(EngineDied) as caught:
                await to_the_end(outputs)
            assert caught.value.retry_after_s
            # The next request waits for the new process instead of failing.
            assert len(await answer(engine, replace(endless, id=f"b{i}", max_tokens=5))) == 5
            assert engine.pid != before
            assert engine.stats.engine_restarts_total == i + 1

    with_engine(settings_for(path), body)


def test_a_cancelled_request_frees_its_place(path: Path) -> None:
    endless = Request(id="a", tokens=prompt(9), max_tokens=ENDLESS)

    async def body(engine: EngineProcess) -> None:
        for i in range(12):  # three times what fits at once
            outputs = Outputs(engine)
            await outputs.submit(replace(endless, id=f"a{i}"))
            await outputs.next()
            outputs.cancel()
        async with asyncio.timeout(PATIENCE_S):
            while engine.stats.num_running or engine.stats.kv_usage:
                await asyncio.sleep(0.05)

    with_engine(settings_for(path), body)


def test_who_closes_an_engine_may_say_why(path: Path) -> None:
    async def run() -> None:
        engine = EngineProcess(settings_for(path))
        await engine.start()
        outputs = Outputs(engine)
        await outputs.submit(Request(id="a", tokens=prompt(9), max_tokens=ENDLESS))
        await outputs.next()
        await engine.close(Draining("the server ends"))
        with pytest.raises(Draining, match="the server ends"):
            await to_the_end(outputs)

    asyncio.run(run())


def test_the_process_ends_with_its_server(path: Path) -> None:
    async def run() -> int:
        engine = EngineProcess(settings_for(path))
        await engine.start()
        pid = engine.pid
        assert pid is not None
        await engine.close()
        return pid

    pid = asyncio.run(run())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"kv_bytes": 1000}, BadSetting),
        ({"context_tokens": 1 << 20}, BadSetting),
        ({"path": "cut"}, Truncated),
    ],
    ids=["kv", "context", "file"],
)
def test_what_cannot_be_loaded_says_why(
    path: Path, tmp_path: Path, changes: dict[str, Any], error: type[FreeholdError]
) -> None:
    if "path" in changes:
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(path.read_bytes()[:5000])
        changes = {"path": str(cut)}

    async def run() -> None:
        with pytest.raises(error):
            await EngineProcess(settings_for(path, **changes)).start()

    asyncio.run(run())


def test_a_request_survives_the_wire() -> None:
    request = Request(
        id="a",
        tokens=[1, 2],
        max_tokens=3,
        sampling=Sampling(temperature=0.5, seed=3, logit_bias=((1, 2.0),)),
        stop_ids=frozenset({7}),
        logprobs=2,
        grammar="start: /a/",
        deadline_s=1.5,
        owner="o",
        branch=2,
    )
    assert wire.request_from(wire.request_to(request)) == request


def test_an_output_survives_the_wire() -> None:
    note = TokenLogprob(5, -0.5, ((5, -0.5), (6, -1.0)))
    outputs = [
        Output(tokens=(1,)),
        Output(tokens=(5,), logprobs=(note,), prompt_logprobs=(None, note), cached_tokens=64),
        Output(finish_reason="stop", stop_id=2, queue_s=0.25),
        Output(finish_reason="stop", stop_id=5, stop_logprob=note),
    ]
    for output in outputs:
        assert wire.output_from(wire.output_to("a", output)) == ("a", output)


def test_an_error_survives_the_wire() -> None:
    error = BadSampling("no", param="top_p", value=object(), expected="x", found="y", hint="z")
    back = wire.error_from(wire.error_to(error))
    assert type(back) is BadSampling
    assert (back.message, back.param, back.expected, back.found, back.hint) == (
        "no",
        "top_p",
        "x",
        "y",
        "z",
    )
    full = wire.error_from(wire.error_to(QueueFull("q", retry_after_s=2.0)))
    assert isinstance(full, QueueFull)
    assert full.retry_after_s == 2.0


@pytest.mark.parametrize("cut", [1, 3, 8, 9, 50, 1 << 20])
def test_frames_come_whole_however_they_are_cut(cut: int) -> None:
    sent: list[tuple[dict[str, Any], bytes]] = [
        ({"a": [1, "\N{SNOWMAN}"]}, b""),
        ({}, b"tail" * 30),
        ({"b": None}, b"\x00"),
    ]
    stream = b"".join(wire.frame(message, tail) for message, tail in sent)
    frames = wire.Frames()
    got = [frames.push(stream[at : at + cut]) for at in range(0, len(stream), cut)]
    assert [frame for some in got for frame in some] == sent


def test_a_frame_beyond_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        wire.Frames().push(wire.HEADER.pack(wire.MAX_FRAME_BYTES, 1))


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.01])
def test_a_start_that_is_given_up_leaves_nothing_open(path: Path, delay_s: float) -> None:
    async def run() -> None:
        engine = EngineProcess(settings_for(path))
        started = asyncio.create_task(engine.start())
        await asyncio.sleep(delay_s)
        started.cancel()
        await asyncio.gather(started, return_exceptions=True)
        await engine.close()

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        asyncio.run(run())
        gc.collect()
    assert [str(one.message) for one in said] == []
