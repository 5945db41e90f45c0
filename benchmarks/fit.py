"""What `freehold fit` predicts beside what `freehold bench` measures, in one run on one machine.

`.venv/bin/python -m benchmarks.fit FILE...`

Room: benchmarks. Rates and files are measured in rounds, one after another, and the best round of
each counts on either side: a machine that others use too is slower at some moments than at
others, and a rate is by its nature that of an undisturbed one. Each file is run in a process of its
own, and its peak memory is the kernel's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, table, write_result
from benchmarks.workers import ROOT

_BOUND = 0.25


def bench(path: Path, options: argparse.Namespace) -> dict[str, float]:
    """Tokens a second of a prompt and of an answer, and the process's peak in bytes."""
    command = [sys.executable, "-m", "freehold", "bench", str(path), "--json"]
    command += ["--prompt", str(options.prompt), "--generate", str(options.generate)]
    command += ["--repeats", str(options.repeats)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        rows, peak_bytes = [], 0
        for line in process.stdout:
            rows.append(json.loads(line))
            peak_bytes = _peak_bytes(process.pid) or peak_bytes
    if process.returncode:
        raise RuntimeError(f"`freehold bench {path.name}` ended with {process.returncode}")
    found = {row["test"]: row["tokens_per_s"] for row in rows}
    return {
        "prompt_tokens_per_s": found["prefill"],
        "answer_tokens_per_s": found["decode"],
        "peak_bytes": peak_bytes,
    }


def _peak_bytes(pid: int) -> int:
    """The highest resident memory of a process that still runs; 0 if it just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def predict(path: Path, rates: Any, options: argparse.Namespace) -> dict[str, float]:
    """The same figures from the file's outline; the mean token of an answer is half-way."""
    from freehold.fit.predict import memory_needs, times
    from freehold.loading.outline import outline_of

    outline = outline_of(path)
    took = times(outline, rates, prompt=options.prompt, depth=options.generate // 2)
    needs = memory_needs(outline, context=max(options.prompt, options.generate))
    return {
        "prompt_tokens_per_s": options.prompt / took.prompt_s,
        "answer_tokens_per_s": 1 / took.token_s,
        "peak_bytes": needs.total,
    }


def better(one: Any, other: Any, name: str = "") -> Any:
    """The quicker of two measurements of rates, number by number."""
    if isinstance(one, dict):
        return {key: better(one[key], other[key], key) for key in one}
    if isinstance(one, float):
        return min(one, other) if name == "op_s" else max(one, other)
    return one


def measure(options: argparse.Namespace) -> tuple[Any, dict[Path, dict[str, float]]]:
    """The machine's rates, and what each file really does."""
    from freehold.engine.rates import AttendRates, Rates, TypeRates, measure_rates

    found: dict[Path, dict[str, float]] = {}
    rates = dataclasses.asdict(measure_rates())
    for number in range(options.rounds):
        if number:
            rates = better(rates, dataclasses.asdict(measure_rates()))
        for path in options.files:
            here = bench(path, options)
            found[path] = {name: max(here[name], found.get(path, here)[name]) for name in here}
    rates["types"] = {name: TypeRates(**each) for name, each in rates["types"].items()}
    rates["attend"] = {name: AttendRates(**each) for name, each in rates["attend"].items()}
    return Rates(**rates), found


def compare(
    path: Path, rates: Any, measured: dict[str, float], options: argparse.Namespace
) -> dict[str, Any]:
    """One file: predicted, measured, and the first over the second."""
    predicted = predict(path, rates, options)
    ratios = {name: predicted[name] / measured[name] for name in measured}
    return {"file": path.name, "predicted": predicted, "measured": measured, "ratios": ratios}


def show(results: list[dict[str, Any]]) -> None:
    """Print predicted, measured and ratio of every figure."""
    rows = []
    for result in results:
        row = [result["file"]]
        for name, unit in (
            ("prompt_tokens_per_s", 1),
            ("answer_tokens_per_s", 1),
            ("peak_bytes", 1e6),
        ):
            sides = (result["predicted"][name] / unit, result["measured"][name] / unit)
            row += [f"{side:,.0f}" if unit > 1 else f"{side:.1f}" for side in sides]
            row.append(f"{result['ratios'][name]:.2f}")
        rows.append(row)
    header = ["file", "prompt", "bench", "ratio", "answer", "bench", "ratio", "MB", "peak", "ratio"]
    print(table(header, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()

    rates, found = measure(options)
    results = [compare(path, rates, found[path], options) for path in options.files]
    show(results)
    off = [
        f"{result['file']}: {name}"
        for result in results
        for name, ratio in result["ratios"].items()
        if not 1 - _BOUND <= ratio <= 1 + _BOUND
    ]
    print(f"\nbeyond {_BOUND:.0%}: {', '.join(off) or 'none'}")
    record = {"rates": dataclasses.asdict(rates), "bound": _BOUND, "beyond": off, "files": results}
    print(write_result("fit", record, folder=options.out))


if __name__ == "__main__":
    main()
