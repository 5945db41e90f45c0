"""Freehold's trainer: one training of given tokens.

Room: benchmarks. Reads a request, prints one line of JSON.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from freehold.tune.training.events import read_events
from freehold.tune.training.lessons import Lessons
from freehold.tune.training.packing import Tokens
from freehold.tune.training.spec import TrainSpec
from freehold.tune.training.train import train_on


def bundles(said: list[Any]) -> list[tuple[Tokens]]:
    return [(Tokens(np.array(ids, np.int32), np.array(mask, bool)),) for ids, mask in said]


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    said = json.loads(Path(request["tokens"]).read_text())
    folder = Path(request["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    spec = TrainSpec(
        base=request["base"],
        data=request["tokens"],
        rank=request["rank"],
        alpha=request["alpha"],
        lr=request["lr"],
        warmup=request["warmup"],
        batch_examples=request["batch"],
        epochs=request["epochs"],
        seed=request["seed"],
        threads=request["threads"],
        precision="float32",
    )
    lessons = Lessons(bundles(said["train"]), bundles(said["heldout"]))
    result = train_on(lessons, spec, directory=folder)
    events = read_events(folder / "events.jsonl")
    # From the first batch to the end of the last step, the checkpoints between them included.
    began = max(e["at"] for e in events if e.get("step") == 0)
    ended = max(e["at"] for e in events if e["kind"] == "step")
    answer = {
        "seconds": ended - began,
        "tokens": result.tokens,
        "computed_tokens": result.computed_tokens,
        "heldout_loss": result.heldout_loss,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
