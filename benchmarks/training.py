"""Training an adapter, beside transformers' Trainer with PEFT: the same job, each in its process.

`python -m benchmarks.training FILE [--shape lists]`

Room: benchmarks. Both sides get the same token ids and masks, float32 values of the same file, the
same ranks, rate, schedule and batch. Tokens are counted without padding, each example whole, on
both sides. The sides take turns; memory is the highest of the whole process, loading included.

Shape `short` is the narrow task of `benchmarks.section`: examples of about 60 tokens that share
their question. `lists` are examples of up to 400 tokens that share nothing but the first few.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, table, write_result
from benchmarks.workers import ROOT

DATA = ROOT / "tests" / "data" / "section"
_JOB = {"rank": 16, "alpha": 32.0, "lr": 1e-3, "batch": 16, "warmup": 0.05, "seed": 0}
_SIDES = {"freehold": "benchmarks.side_tune", "peft": "benchmarks.side_peft"}


def run_side(module: str, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One training in a fresh process: what it says, and the most memory it had."""
    path = folder / "request.json"
    path.write_text(json.dumps(request))
    environment = os.environ | {"OMP_NUM_THREADS": str(request["threads"])}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", module, str(path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.read()
        errors = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{module} ended with status {process.returncode}: {errors[-2000:]}")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found | {
        "peak_bytes": used.ru_maxrss * 1024,
        "process_s": time.perf_counter() - began,
        "tokens_per_s": found["tokens"] / found["seconds"],
    }


def lists_of(path: Path, out: Path, count: int) -> Path:
    """Longer examples of unlike lengths that begin differently: several lines, their answers."""
    rng = np.random.default_rng(0)
    lines = [json.loads(line)["messages"] for line in path.read_text("utf-8").splitlines()]
    with out.open("w", encoding="utf-8") as file:
        for _ in range(count):
            some = [lines[i] for i in rng.choice(len(lines), int(rng.integers(2, 13)), False)]
            asked = [said[-2]["content"].splitlines()[-1] for said in some]
            question = "\n".join(asked) + "\n\nName the section of each line."
            answer = "\n".join(said[-1]["content"] for said in some)
            messages = [
                {"role": "system", "content": f"{asked[0]}: a list of {len(some)}."},
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return out


def write_tokens(path: Path, spec: dict[str, Any], count: int, heldout: int) -> dict[str, Any]:
    """The data's ids and masks, as serving renders them, for both sides; and what they are."""
    from freehold.tune.training.lessons import read_lessons
    from freehold.tune.training.spec import TrainSpec

    lessons = read_lessons(TrainSpec(**spec), 8192)
    parts = {"train": lessons.bundles[:count], "heldout": lessons.heldout[:heldout]}
    said = {
        name: [[text.ids.tolist(), text.learned.tolist()] for (text,) in bundles]
        for name, bundles in parts.items()
    }
    path.write_text(json.dumps(said))
    lengths = np.array([len(ids) for ids, _ in said["train"]])
    return {
        "examples": len(lengths),
        "tokens": int(lengths.sum()),
        "learned_tokens": int(sum(sum(mask) for _, mask in said["train"])),
        "longest": int(lengths.max()),
        "mean_length": float(lengths.mean()),
    }


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Rounds of both sides on one job, and the ratios of their medians."""
    data, heldout = options.data, options.heldout
    if options.shape == "lists":
        data = lists_of(data, folder / "train.jsonl", options.examples)
        heldout = lists_of(heldout, folder / "heldout.jsonl", options.heldout_examples)
    spec = {"base": str(options.file), "data": str(data), "heldout": str(heldout)}
    tokens = folder / "tokens.json"
    data = write_tokens(tokens, spec, options.examples, options.heldout_examples)
    request = _JOB | {
        "base": str(options.file),
        "tokens": str(tokens),
        "epochs": options.epochs,
        "threads": options.threads,
        "model": str(folder / "model"),
        "folder": str(folder / "run"),
    }
    write = ["--write", str(options.file), request["model"]]
    subprocess.run(
        [sys.executable, "-m", "benchmarks.side_peft", *write],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in _SIDES}
    for _ in range(options.rounds):
        for name, module in _SIDES.items():
            runs[name].append(run_side(module, request, folder))
    medians = {
        name: {
            key: statistics.median(run[key] for run in each)
            for key in ("tokens_per_s", "peak_bytes", "heldout_loss", "process_s")
        }
        for name, each in runs.items()
    }
    ours, theirs = medians["freehold"], medians["peft"]
    return {
        "shape": options.shape,
        "job": request | {"base": options.file.name, "model": "", "tokens": "", "folder": ""},
        "data": data,
        "runs": runs,
        "medians": medians,
        "throughput_ratio": ours["tokens_per_s"] / theirs["tokens_per_s"],
        "memory_ratio": ours["peak_bytes"] / theirs["peak_bytes"],
        "heldout_difference": ours["heldout_loss"] - theirs["heldout_loss"],
    }


def main() -> None:
    """Runs, prints a table, keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", type=Path, default=DATA / "train.jsonl")
    parser.add_argument("--heldout", type=Path, default=DATA / "heldout.jsonl")
    parser.add_argument("--shape", choices=("short", "lists"), default="short")
    parser.add_argument("--examples", type=int, default=160)
    parser.add_argument("--heldout-examples", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = compare(options, Path(folder))
    rows = [
        [
            name,
            f"{each['tokens_per_s']:.0f}",
            f"{each['peak_bytes'] / 1e6:.0f}",
            f"{each['heldout_loss']:.4f}",
            f"{each['process_s']:.1f}",
        ]
        for name, each in result["medians"].items()
    ]
    print(table(["side", "tokens/s", "peak MB", "held-out loss", "process s"], rows))
    print(
        f"throughput x{result['throughput_ratio']:.2f}, memory x{result['memory_ratio']:.2f}, "
        f"held-out loss {result['heldout_difference']:+.4f}"
    )
    print(write_result("training", result, folder=options.results))


if __name__ == "__main__":
    main()
