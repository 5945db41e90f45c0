"""The same training on a GPU (skipped where there is none).

| what, on CUDA against this CPU | bound | reason                                              |
|--------------------------------|-------|-----------------------------------------------------|
| float32 losses of 8 steps      | 1e-3  | float32 sums in another order, grown through steps  |
| bfloat16 held-out loss, nats   | 0.15  | 8 bits of mantissa in activations and frozen values |
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from freehold.tune.training.events import read_events
from freehold.tune.training.train import train_on
from tests.tune.training import toys

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "hub"
    toys.write_tiny(path)
    return path


def losses(directory: Path) -> list[float]:
    events = read_events(directory / "events.jsonl")
    return [event["loss"] for event in events if event["kind"] == "step"]


@pytest.mark.parametrize("adapter", ["lora", "qlora", "full"])
def test_float32_losses_are_the_cpu_s(base: Path, tmp_path: Path, adapter: str) -> None:
    found = []
    for device in ("cpu", "cuda"):
        spec = toys.spec(
            base, device=device, precision="float32", adapter=adapter, max_steps=8, lr=2e-3
        )
        train_on(toys.lessons(), spec, directory=tmp_path / device)
        found.append(losses(tmp_path / device))
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_bfloat16_learns_as_well(base: Path, tmp_path: Path) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        spec = toys.spec(base, device="cuda", precision=precision, epochs=4)
        result = train_on(toys.lessons(80), spec, directory=tmp_path / precision)
        assert result.heldout_loss is not None
        found.append(result.heldout_loss)
        assert "CUDA" in read_events(tmp_path / precision / "events.jsonl")[0]["machine"]
    assert found[1] == pytest.approx(found[0], abs=0.15)


def test_preferences_and_a_second_start(base: Path, tmp_path: Path) -> None:
    spec = toys.spec(base, device="cuda", method="dpo", epochs=4, lr=2e-3, beta=0.5)
    calls = iter(range(100))
    stopped = train_on(toys.pairs(), spec, directory=tmp_path, should_stop=lambda: next(calls) == 5)
    assert stopped.status == "stopped"
    result = train_on(toys.pairs(), spec, directory=tmp_path)
    assert result.status == "finished"
    assert result.first_heldout_loss is not None
    assert result.heldout_loss is not None
    assert result.heldout_loss < result.first_heldout_loss
