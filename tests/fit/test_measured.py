"""The machine is measured once, and again where it is another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.engine import rates as rates_module
from freehold.engine.rates import Rates, measure_rates
from freehold.fit import machine_rates
from freehold.fit import measured as measured_module
from freehold.formats.block_types import BlockType
from tests.fit.rates import made_rates


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Measuring takes no time here; the list has an entry for each time."""
    times: list[int] = []

    def measure(progress: Callable[[int, int], None] | None = None) -> Rates:
        times.append(1)
        return made_rates()

    monkeypatch.setattr(measured_module, "measure_rates", measure)
    return times


def test_the_second_time_reads_what_was_kept(tmp_path: Path, counted: list[int]) -> None:
    first = machine_rates(tmp_path / "home")
    second = machine_rates(tmp_path / "home")
    assert first == second
    assert len(counted) == 1


def test_asked_again_it_measures_again(tmp_path: Path, counted: list[int]) -> None:
    machine_rates(tmp_path)
    machine_rates(tmp_path, again=True)
    assert len(counted) == 2


@pytest.mark.parametrize("key", ["processor", "isa", "threads", "version"])
def test_another_machine_is_measured(tmp_path: Path, counted: list[int], key: str) -> None:
    machine_rates(tmp_path)
    file = tmp_path / "machine.json"
    kept = json.loads(file.read_text())
    kept["identity"][key] = "another"
    file.write_text(json.dumps(kept))
    assert machine_rates(tmp_path).identity[key] != "another"
    assert len(counted) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: "{",
        lambda kept: "[]",
        lambda kept: json.dumps({**kept, "rates": 3}),
        lambda kept: json.dumps({**kept, "rates": {**kept["rates"], "more": 1}}),
        lambda kept: json.dumps({**kept, "rates": {**kept["rates"], "types": {}}}),
        lambda kept: json.dumps({**kept, "rates": {**kept["rates"], "state_one": 0}}),
    ],
)
def test_a_file_that_says_nothing_whole_is_measured_over(
    tmp_path: Path, counted: list[int], spoil: Callable[[dict[str, object]], str]
) -> None:
    machine_rates(tmp_path)
    file = tmp_path / "machine.json"
    file.write_text(spoil(json.loads(file.read_text())))
    assert machine_rates(tmp_path).rates == made_rates()
    assert len(counted) == 2


def test_measuring_for_real_gives_rates_of_this_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two types and little memory, so that it takes no time; every rate is above nothing."""
    monkeypatch.setattr(rates_module, "MEASURED_TYPES", (BlockType.Q8_0, BlockType.Q4_K))
    monkeypatch.setattr(rates_module, "_STREAM_BYTES", 4 << 20)
    monkeypatch.setattr(rates_module, "_MOMENT_S", 0.0)
    monkeypatch.setattr(rates_module, "_DEPTH", 512)
    monkeypatch.setattr(rates_module, "_LAYERS", 2)
    steps: list[tuple[int, int]] = []
    rates = measure_rates(lambda done, total: steps.append((done, total)))
    assert steps[-1] == (7, 7)
    assert rates.op_s >= 0
    for kind in rates.types.values():
        assert all(1e6 < rate < 1e14 for rate in dataclasses.astuple(kind))
        assert kind.many > kind.stream / 2
    assert rates.isas[rates.isa] >= rates.isas["generic"] / 2
    assert all(each.one > 1e6 < each.many for each in rates.attend.values())
    assert min(rates.state_one, rates.state_many) > 1e6
