"""Trainings of a toy from start to end, and on from wherever they were broken off."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from freehold.errors import BadCheckpoint, BadTraining, DiskFull, Diverged, FreeholdError
from freehold.formats.safetensors_writer import write_safetensors
from freehold.tune.training import checkpoints
from freehold.tune.training.events import EventLog, read_events
from freehold.tune.training.objectives import Supervised
from freehold.tune.training.spec import TrainResult, TrainSpec, read_spec
from freehold.tune.training.train import Lessons, train_on
from tests.tune.training import toys


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "hub"
    toys.write_tiny(path)
    return path


def curve(directory: Path) -> list[tuple[Any, ...]]:
    """What a training's events say that does not depend on the time."""
    return [
        (event["seq"], event["kind"], event.get("step"), event.get("loss"))
        for event in read_events(directory / "events.jsonl")
    ]


def adapter(directory: Path) -> dict[str, Any]:
    return dict(load_file(directory / "adapter" / "adapter_model.safetensors"))


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


class CrashError(Exception):
    """The process dies."""


def crash_at(number: int) -> Callable[[Mapping[str, Any]], None]:
    def hear(event: Mapping[str, Any]) -> None:
        if event["seq"] == number:
            raise CrashError

    return hear


def test_the_loss_falls_and_the_best_is_kept(base: Path, tmp_path: Path) -> None:
    result = train_on(toys.lessons(80), toys.spec(base, epochs=4), directory=tmp_path / "run")
    assert result.status == "finished"
    assert result.heldout_loss is not None
    assert result.first_heldout_loss is not None
    assert result.heldout_loss < 0.9 * result.first_heldout_loss
    assert result.computed_tokens < result.tokens
    assert (tmp_path / "run" / "loss.svg").read_text().startswith("<svg")
    again = train_on(toys.lessons(80), toys.spec(base, epochs=4), directory=tmp_path / "run")
    assert again.heldout_loss == result.heldout_loss


@pytest.mark.parametrize("dropout", [0.0, pytest.param(0.3, marks=pytest.mark.slow)])
def test_wherever_it_crashes_the_curve_is_the_undisturbed_one(
    base: Path, tmp_path: Path, dropout: float
) -> None:
    spec = toys.spec(base, dropout=dropout)
    train_on(toys.lessons(), spec, directory=tmp_path / "whole")
    wanted = curve(tmp_path / "whole")
    for number in (1, 5, 6, len(wanted)):
        run = tmp_path / f"crash-{number}"
        with pytest.raises(CrashError):
            train_on(toys.lessons(), spec, directory=run, on_event=crash_at(number))
        with (run / "events.jsonl").open("ab") as file:
            file.write(b'{"seq": 99, "kind": "st')  # a line that was cut off
        train_on(toys.lessons(), spec, directory=run)
        assert curve(run) == wanted
        assert same(adapter(run), adapter(tmp_path / "whole"))


def test_stopping_keeps_a_checkpoint_and_starting_goes_on(base: Path, tmp_path: Path) -> None:
    spec = toys.spec(base)
    train_on(toys.lessons(), spec, directory=tmp_path / "whole")
    calls = iter(range(100))
    result = train_on(
        toys.lessons(), spec, directory=tmp_path / "run", should_stop=lambda: next(calls) == 4
    )
    assert (result.status, result.steps, result.adapter_dir) == ("stopped", 4, None)
    train_on(toys.lessons(), spec, directory=tmp_path / "run")
    steps = [each for each in curve(tmp_path / "run") if each[1] == "step"]
    wanted = [each for each in curve(tmp_path / "whole") if each[1] == "step"]
    assert [each[1:] for each in steps] == [each[1:] for each in wanted]
    assert same(adapter(tmp_path / "run"), adapter(tmp_path / "whole"))


def test_patience_ends_a_training_that_gets_no_better(base: Path, tmp_path: Path) -> None:
    spec = toys.spec(
        base, epochs=30, lr=0.5, clip=0.0, patience=2, evaluate_every_steps=1, schedule="constant"
    )
    result = train_on(toys.lessons(), spec, directory=tmp_path)
    assert result.steps < 150
    assert result.best_step is not None
    events = read_events(tmp_path / "events.jsonl")
    losses = {e["step"]: e["loss"] for e in events if e["kind"] == "heldout" and e["step"]}
    assert result.heldout_loss == min(losses.values())
    assert result.steps == result.best_step + 2
    assert any(event["kind"] == "early_stop" for event in events)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Supervised.loss
    calls = iter(range(1000))

    def broken(self: Supervised, network: Any, row: Any, numbers: Any) -> torch.Tensor:
        loss = plain(self, network, row, numbers)
        return loss * float("nan") if torch.is_grad_enabled() and next(calls) > 12 else loss

    monkeypatch.setattr(Supervised, "loss", broken)
    with pytest.raises(Diverged, match="no number") as failed:
        train_on(toys.lessons(), toys.spec(base), directory=tmp_path)
    assert "is kept" in failed.value.hint
    kept = checkpoints.latest(tmp_path / "checkpoints")
    assert kept is not None
    values = load_file(kept.path / "trained.safetensors")
    assert all(np.isfinite(each).all() for each in values.values())


def test_a_full_disk_is_said_and_leaves_the_last_checkpoint(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(path: Path, tensors: Any, metadata: Any = None) -> None:
        if "step-00000006" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_safetensors(path, tensors, metadata)

    monkeypatch.setattr("freehold.tune.training.checkpoints.write_safetensors", full)
    with pytest.raises(DiskFull, match="no room"):
        train_on(toys.lessons(), toys.spec(base), directory=tmp_path)
    kept = checkpoints.latest(tmp_path / "checkpoints")
    assert kept is not None
    assert kept.step == 5
    monkeypatch.undo()
    assert train_on(toys.lessons(), toys.spec(base), directory=tmp_path).status == "finished"


def test_a_disk_without_room_for_a_line_is_said_and_no_line_is_lost(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = EventLog.say

    def full(self: EventLog, kind: str, step: int | None, facts: Any) -> None:
        if step == 5:
            with (tmp_path / "events.jsonl").open("ab") as file:
                file.write(b'{"seq": 9, "ki')  # as far as it went
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(self, kind, step, facts)

    monkeypatch.setattr(EventLog, "say", full)
    with pytest.raises(DiskFull, match="no room"):
        train_on(toys.lessons(), toys.spec(base), directory=tmp_path)
    monkeypatch.undo()
    assert train_on(toys.lessons(), toys.spec(base), directory=tmp_path).status == "finished"
    events = read_events(tmp_path / "events.jsonl")
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
    assert [e["step"] for e in events if e["kind"] == "step"] == [*range(1, 11)]


def test_a_damaged_checkpoint_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        train_on(toys.lessons(), toys.spec(base), directory=tmp_path, on_event=crash_at(9))
    kept = checkpoints.latest(tmp_path / "checkpoints")
    assert kept is not None
    file = kept.path / "trained.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(BadCheckpoint, match="gone on from") as failed:
        train_on(toys.lessons(), toys.spec(base), directory=tmp_path)
    assert "altered" in failed.value.found


def test_another_training_does_not_go_on_from_these_checkpoints(base: Path, tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        train_on(toys.lessons(), toys.spec(base), directory=tmp_path, on_event=crash_at(9))
    for spec, data in (
        (toys.spec(base, lr=1e-3), toys.lessons()),
        (toys.spec(base), toys.lessons(seed=3)),
    ):
        with pytest.raises(BadTraining, match="another training"):
            train_on(data, spec, directory=tmp_path)


def test_a_base_that_vanishes_is_said_after_the_checkpoint(base: Path, tmp_path: Path) -> None:
    mine = tmp_path / "base"
    shutil.copytree(base, mine)

    def vanish(event: Mapping[str, Any]) -> None:
        if event["kind"] == "step" and event["step"] == 4:
            shutil.rmtree(mine)

    with pytest.raises(BadTraining, match="was removed"):
        train_on(toys.lessons(), toys.spec(mine), directory=tmp_path / "run", on_event=vanish)
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") is not None
    with pytest.raises(BadTraining, match="not there"):
        train_on(toys.lessons(), toys.spec(mine), directory=tmp_path / "run")


def test_too_little_to_learn_from_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(BadTraining, match="too little"):
        train_on(Lessons(toys.lessons().bundles[:1]), toys.spec(base), directory=tmp_path)


def test_computing_layers_twice_changes_no_bit(base: Path, tmp_path: Path) -> None:
    results: list[TrainResult] = []
    for name, budget in (("kept", 1 << 40), ("again", 1)):
        spec = toys.spec(base, memory_bytes=budget, max_steps=4)
        results.append(train_on(toys.lessons(), spec, directory=tmp_path / name))
    assert results[0].train_loss == results[1].train_loss
    assert same(adapter(tmp_path / "kept"), adapter(tmp_path / "again"))


def test_preferences_are_learned_and_begin_at_log_two(base: Path, tmp_path: Path) -> None:
    # The figures are those of floats; by default processors that multiply bfloat16 train in it.
    spec = toys.spec(base, method="dpo", epochs=5, lr=4e-3, beta=0.5, precision="float32")
    result = train_on(toys.pairs(), spec, directory=tmp_path)
    assert result.first_heldout_loss == pytest.approx(np.log(2), abs=1e-6)
    assert result.heldout_loss is not None
    assert result.heldout_loss < 0.5
    measured = [e for e in read_events(tmp_path / "events.jsonl") if e["kind"] == "heldout"]
    assert measured[-1]["preferred"] > 0.8


def test_everything_can_learn_and_is_saved_as_a_checkpoint(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    spec = toys.spec(base, adapter="full", lr=2e-3, precision="float32")
    result = train_on(toys.lessons(), spec, directory=tmp_path)
    assert result.adapter_dir is not None
    assert result.first_heldout_loss is not None
    assert result.heldout_loss is not None
    assert result.heldout_loss < result.first_heldout_loss
    model = AutoModelForCausalLM.from_pretrained(result.adapter_dir)
    losses = []
    for (one,) in toys.lessons().heldout:
        logits = model(input_ids=torch.tensor([one.ids.tolist()])).logits[0].detach()
        logs = torch.log_softmax(logits.float(), -1)
        losses += [float(-logs[at - 1, one.ids[at]]) for at in np.flatnonzero(one.learned)]
    assert np.mean(losses) == pytest.approx(result.heldout_loss, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 0),
        ("rank", 2.5),
        ("epochs", True),
        ("lr", float("inf")),
        ("method", "ppo"),
        ("targets", ["lm_head"]),
        ("script", "rm"),
        ("base", None),
    ],
)
def test_settings_out_of_range_are_named(name: str, value: Any) -> None:
    said = {"base": "a", "data": "b", name: value}
    with pytest.raises(BadTraining) as failed:
        read_spec(__import__("json").dumps(said))
    assert name in failed.value.message


def test_a_specification_survives_json(base: Path) -> None:
    spec = toys.spec(base, targets=("q_proj",), mapping={"prompt": "question"})
    assert read_spec(spec.as_json()) == spec
    assert isinstance(TrainSpec(base="a", data="b"), TrainSpec)
    assert issubclass(BadTraining, FreeholdError)
