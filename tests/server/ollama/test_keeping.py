"""keep_alive: a model leaves when it was asked to, and not while it is in use."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from freehold.errors import BadRequest
from freehold.server.routes.ollama.keeping import Keeping, seconds_of
from tests.server.jumping_clock import run


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        (0, 0.0),
        ("0", 0.0),
        ("0s", 0.0),
        (30, 30.0),
        (2.5, 2.5),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("300ms", 0.3),
        (-1, math.inf),
        ("-1s", math.inf),
        ("-1m", math.inf),
        (1e300, math.inf),
        (math.inf, math.inf),
    ],
)
def test_a_duration_is_read_as_ollama_reads_it(given: Any, seconds: float | None) -> None:
    assert seconds_of(given) == (pytest.approx(seconds) if seconds else seconds)


@pytest.mark.parametrize("given", ["", "5", "-1", "soon", "5 m", "m", "1d", "5m!", math.nan, "٥m"])
def test_what_is_no_duration_is_refused_by_name(given: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        seconds_of(given)
    assert caught.value.param == "keep_alive"


@dataclass
class OneModel:
    """Residents with one model in memory."""

    running: int = 0
    tokens: int = 0
    here: bool = True
    unloaded: list[str] = field(default_factory=list)

    def loaded(self) -> list[Any]:
        stats = SimpleNamespace(prompt_tokens_total=self.tokens, generation_tokens_total=0)
        card = SimpleNamespace(id="m")
        model = SimpleNamespace(card=card, running=self.running, waiting=0, stats=stats)
        return [model] if self.here else []

    async def unload(self, ref: str) -> None:
        self.unloaded.append(ref)
        self.here = False


def keeping(residents: OneModel) -> Keeping:
    any_residents: Any = residents
    return Keeping(any_residents)


def test_zero_unloads_at_once() -> None:
    residents = OneModel()
    run(keeping(residents).used("m", 0.0))
    assert residents.unloaded == ["m"]


def test_a_model_leaves_after_its_time() -> None:
    residents = OneModel()

    async def script() -> None:
        keep = keeping(residents)
        await keep.used("m", 5.0)
        assert keep.until("m") is not None
        assert residents.unloaded == []
        await asyncio.sleep(5.1)
        assert keep.until("m") is None

    run(script())
    assert residents.unloaded == ["m"]


def test_a_use_starts_the_time_anew() -> None:
    residents = OneModel()

    async def script() -> None:
        keep = keeping(residents)
        await keep.used("m", 10.0)
        await asyncio.sleep(6)
        await keep.used("m", None)
        await asyncio.sleep(6)
        assert residents.unloaded == []
        await asyncio.sleep(6)

    run(script())
    assert residents.unloaded == ["m"]


def test_a_use_on_another_surface_starts_the_time_anew() -> None:
    residents = OneModel()

    async def script() -> None:
        await keeping(residents).used("m", 5.0)
        residents.tokens += 10
        await asyncio.sleep(7.5)
        assert residents.unloaded == []
        await asyncio.sleep(5)

    run(script())
    assert residents.unloaded == ["m"]


def test_forever_takes_an_earlier_time_back() -> None:
    residents = OneModel()

    async def script() -> None:
        keep = keeping(residents)
        await keep.used("m", 2.0)
        await keep.used("m", math.inf)
        await asyncio.sleep(5)
        assert keep.until("m") is None

    run(script())
    assert residents.unloaded == []


def test_a_model_in_use_stays_until_it_is_not() -> None:
    residents = OneModel(running=1)

    async def script() -> None:
        await keeping(residents).used("m", 0.0)
        await asyncio.sleep(5)
        assert residents.unloaded == []
        residents.running = 0
        await asyncio.sleep(5)

    run(script())
    assert residents.unloaded == ["m"]


def test_a_model_that_is_gone_already_is_left_alone() -> None:
    residents = OneModel(here=False)
    run(keeping(residents).used("m", 0.0))
    assert residents.unloaded == []


def test_without_a_word_the_memory_budget_decides() -> None:
    residents = OneModel()

    async def script() -> None:
        keep = keeping(residents)
        await keep.used("m", None)
        assert keep.until("m") is None

    run(script())
    assert residents.unloaded == []
