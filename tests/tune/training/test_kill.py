"""SIGKILL at random moments: the same curve, no torn checkpoint, no lost event."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from freehold.tune.training import checkpoints
from tests.tune.training import toys

ROOT = Path(__file__).resolve().parents[3]
KILLS = 20


def start(base: Path, directory: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.tune.training.run_toy", str(base), str(directory)]
    return subprocess.Popen(command, cwd=ROOT)


def said(directory: Path) -> list[tuple[Any, ...]]:
    """Every line of the file, read strictly."""
    lines = (directory / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return [(e["seq"], e["kind"], e.get("step"), e.get("loss")) for e in events]


@pytest.mark.slow
@pytest.mark.alone
def test_twenty_kills_leave_the_undisturbed_curve(tmp_path: Path) -> None:
    base = tmp_path / "base"
    toys.write_tiny(base)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(base, whole).wait() == 0
    moments = random.Random(6)
    kills = 0
    while kills < KILLS:
        process = start(base, killed)
        grown = size_of(killed)
        while size_of(killed) == grown and process.poll() is None:
            time.sleep(0.01)  # it is past its imports
        time.sleep(moments.uniform(0.0, 0.12))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        for folder in (killed / "checkpoints").glob("step-*"):
            checkpoints.at(folder)  # whole, or it raises
    assert start(base, killed).wait() == 0
    assert kills == KILLS, f"the training ended after {kills} kills: give it more steps"
    assert said(killed) == said(whole)
    one, other = (
        load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (whole, killed)
    )
    assert all(np.array_equal(one[name], other[name]) for name in one)


def size_of(directory: Path) -> int:
    path = directory / "events.jsonl"
    return path.stat().st_size if path.exists() else 0
