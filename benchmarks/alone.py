"""Models too large to lie in memory twice: each side loads, runs every case and leaves.

`python -m benchmarks.alone FILE --freehold-python .venv/bin/python`

Room: benchmarks. The sides follow one another, so a drift of the machine meets one of them: run it
twice, the second time with --llama-first. llama.cpp runs with flash attention on and off.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, table, write_result
from benchmarks.speed import spread
from benchmarks.suites import Case
from benchmarks.workers import Worker

_CASES = (Case(kind="prefill", tokens=256), Case(kind="decode", tokens=16))
_SIDES = ("benchmarks.side_freehold", "benchmarks.side_llama_cpp")


def run_side(module: str, options: argparse.Namespace) -> dict[str, Any]:
    """Loads, warms up, and measures every case; the best attention of llama.cpp counts."""
    ours = module == _SIDES[0]
    python = options.freehold_python if ours else sys.executable
    with Worker(module, python=python, threads=options.threads) as worker:
        start_s = time.monotonic()
        load = {"path": str(options.file), "threads": options.threads, "context_tokens": 512}
        worker.ask("load", load)
        loaded_s = time.monotonic() - start_s
        cases = {}
        for case in _CASES:
            attentions: list[dict[str, Any]] = [{}] if ours else [{"flash": True}, {"flash": False}]
            runs = [_rates(worker, case, attention, options.repeats) for attention in attentions]
            cases[case.name] = max(runs, key=lambda run: run["median"])
        about = worker.ask("describe")
        peak = worker.status_bytes("VmHWM")
    return {"about": about, "load_s": loaded_s, "peak_resident_bytes": peak, "cases": cases}


def _rates(worker: Worker, case: Case, attention: dict[str, Any], repeats: int) -> dict[str, Any]:
    request = {**case.request, **attention}
    rates = [worker.ask(case.kind, request)["tokens_per_s"] for _ in range(repeats + 1)]
    return {**attention, **spread(rates[1:])}  # the first one warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--llama-first", action="store_true")
    parser.add_argument("--freehold-python", default=sys.executable)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    order = _SIDES[::-1] if options.llama_first else _SIDES
    found = {module: run_side(module, options) for module in order}
    ours, theirs = (found[module] for module in _SIDES)
    rows = []
    for case in _CASES:
        mine, other = ours["cases"][case.name], theirs["cases"][case.name]
        ratio = mine["median"] / other["median"]
        rows.append([case.name, f"{mine['median']:.1f}", f"{other['median']:.1f}", f"{ratio:.2f}"])
    print(table(["case", "freehold", "llama.cpp", "ratio"], rows))
    for name, side in (("freehold", ours), ("llama.cpp", theirs)):
        peak_gb = side["peak_resident_bytes"] / 1e9
        print(f"{name}: ready in {side['load_s']:.0f} s, peak resident {peak_gb:.2f} GB")
    kept = {"file": options.file.name, "freehold": ours, "llama.cpp": theirs}
    print(f"kept in {write_result('alone', kept, folder=options.results)}")


if __name__ == "__main__":
    main()
