"""Adapters in the engine: chosen by each request, sharing no pages, coming and going at work."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.engine.adapters import MAX_ADAPTERS, Adapters
from freehold.engine.client import EngineProcess, Outputs
from freehold.engine.engine import Engine
from freehold.engine.request import Request
from freehold.engine.runner import Runner
from freehold.errors import BadRequest, EngineDied, FormatError, LoadError, UnknownModel
from freehold.loading import Loaded, load_adapter, load_gguf
from tests.engine.test_engine import prompt
from tests.engine.test_process import DIMS, answer, settings_for, to_the_end, with_engine
from tests.loading.small import small
from tests.loading.small_adapter import small_adapter

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(DIMS).write(tmp_path_factory.mktemp("m") / "m.gguf")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: small_adapter(DIMS, seed=seed).write(folder / name) for seed, name in enumerate(NAMES)
    }


def engine_with(loaded: Loaded, adapters: dict[str, Path]) -> Engine:
    engine = Engine(Runner(loaded.model, tokens=4096), bounds_chunks=False)
    for name, place in adapters.items():
        engine.adapters.add(name, load_adapter(place, loaded))
    return engine


def run(engine: Engine, *requests: Request) -> dict[str, list[int]]:
    """The tokens of each request, all under way together."""
    found: dict[str, list[int]] = {request.id: [] for request in requests}
    for request in requests:
        engine.submit(request)
    while engine.has_work:
        for name, output in engine.step():
            assert output.error is None
            found[name] += output.tokens
    return found


def asked(adapter: str, name: str = "a", *, tokens: int = 12, seed: int = 0) -> Request:
    return Request(id=name, tokens=prompt(70, seed=seed), max_tokens=tokens, adapter=adapter)


def test_a_mixed_batch_answers_as_each_alone(path: Path, adapters: dict[str, Path]) -> None:
    loaded = load_gguf(path)
    engine = engine_with(loaded, adapters)
    kinds = ("", *NAMES)
    alone = {kind: run(engine_with(loaded, adapters), asked(kind))["a"] for kind in kinds}
    assert len({tuple(tokens) for tokens in alone.values()}) == len(kinds), "adapters say the same"
    mixed = run(engine, *(asked(kind, f"{kind}-{i}") for i in range(3) for kind in kinds))
    for name, tokens in mixed.items():
        assert tokens == alone[name.rpartition("-")[0]]
    engine.runner.pages.check()


def test_a_page_is_shared_within_an_adapter_only(path: Path, adapters: dict[str, Path]) -> None:
    """The same prompt and owner: a page computed with one adapter is wrong for any other."""
    loaded = load_gguf(path)
    engine = engine_with(loaded, adapters)

    def cached(adapter: str) -> int:
        engine.submit(asked(adapter, tokens=2))
        first = 0
        while engine.has_work:
            for _, output in engine.step():
                first = max(first, output.cached_tokens)
        return first

    assert cached("") == 0
    assert cached("one") == 0
    assert cached("two") == 0
    assert cached("") == 69
    assert cached("one") == 69
    engine.adapters.remove("one")
    engine.adapters.add("one again", load_adapter(adapters["one"], loaded))
    assert cached("one again") == 0


class Stub:
    """An adapter that remembers what was done with it."""

    bytes = 7

    def __init__(self) -> None:
        self.index: int | None = None

    def attach(self, index: int) -> None:
        self.index = index

    def detach(self, index: int) -> None:
        assert index == self.index
        self.index = None


def test_an_unloaded_adapter_stays_until_its_last_request_has_ended(
    path: Path, adapters: dict[str, Path]
) -> None:
    loaded = load_gguf(path)
    alone = run(engine_with(loaded, adapters), asked("one"))["a"]
    engine = engine_with(loaded, adapters)
    engine.submit(asked("one"))
    found = [token for _, output in engine.step() for token in output.tokens]
    sizes = engine.adapters.bytes
    assert sizes.keys() == set(NAMES)
    engine.adapters.remove("one")
    with pytest.raises(UnknownModel, match="unloaded"):
        engine.submit(asked("one", "late"))
    assert engine.adapters.bytes == sizes
    while engine.has_work:
        found += [token for _, output in engine.step() for token in output.tokens]
    assert found == alone
    assert engine.adapters.bytes == {name: sizes[name] for name in ("two", "three")}


def test_indices_are_taken_again_and_bounded() -> None:
    adapters = Adapters()
    stubs = [Stub() for _ in range(MAX_ADAPTERS)]
    for i, stub in enumerate(stubs):
        adapters.add(str(i), stub)
    with pytest.raises(BadRequest):
        adapters.add("one more", Stub())
    adapters.hold("7")
    adapters.remove("7")
    with pytest.raises(BadRequest):
        adapters.add("one more", Stub())
    adapters.release("7")
    fresh = Stub()
    adapters.add("one more", fresh)
    assert (stubs[7].index, fresh.index) == (None, 7)
    with pytest.raises(BadRequest):
        adapters.add("one more", Stub())
    adapters.remove("never there")
    assert adapters.index("") == -1


def test_adapters_come_and_go_while_the_process_answers(
    path: Path, adapters: dict[str, Path]
) -> None:
    loaded = load_gguf(path)
    alone = {
        kind: run(engine_with(loaded, adapters), asked(kind, tokens=40))["a"]
        for kind in ("", *NAMES)
    }

    async def body(engine: EngineProcess) -> None:
        plain = asyncio.create_task(answer(engine, asked("", "plain", tokens=40)))
        await engine.load_adapter("one", str(adapters["one"]))
        assert engine.adapter_bytes["one"] > 0
        with_one = asyncio.create_task(answer(engine, asked("one", "first", tokens=40)))
        await engine.load_adapter("two", str(adapters["two"]))
        both = await asyncio.gather(
            answer(engine, asked("two", "second", tokens=40)), with_one, plain
        )
        assert list(both) == [alone["two"], alone["one"], alone[""]]
        engine.unload_adapter("one")
        with pytest.raises(UnknownModel):
            await answer(engine, asked("one", "late"))
        with pytest.raises((FormatError, LoadError)):
            await engine.load_adapter("none", str(path))
        assert await answer(engine, asked("two", "third", tokens=40)) == alone["two"]

    with_engine(settings_for(path), body)


def test_an_engine_that_comes_back_has_its_adapters_again(
    path: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    loaded = load_gguf(path)
    alone = run(engine_with(loaded, adapters), asked("one"))["a"]
    gone = shutil.copytree(adapters["two"], tmp_path / "gone")

    async def body(engine: EngineProcess) -> None:
        await engine.load_adapter("later", str(gone))
        outputs = Outputs(engine)
        await outputs.submit(replace(asked("one", "long"), max_tokens=900))
        await outputs.next()
        shutil.rmtree(gone)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineDied):
            await to_the_end(outputs)
        assert await answer(engine, asked("one", "again")) == alone
        with pytest.raises(FormatError):  # its files are gone; the others go on
            await answer(engine, asked("later", "lost"))

    with_engine(settings_for(path, adapters={"one": str(adapters["one"])}), body)
