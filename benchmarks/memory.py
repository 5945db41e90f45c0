"""Peak memory, time to ready and time to the first token, beside llama.cpp, from a warm disk.

`python -m benchmarks.memory FILE...`

Room: benchmarks. Every figure comes from a fresh process, timed from its start, so that imports
count. The two sides take turns; each is given the median of its runs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.probes import GENERATE, PROMPT
from benchmarks.record import RESULTS, table, write_result
from benchmarks.workers import ROOT

_QUESTION = "What is the capital of France?"
_ALLOWANCE_BYTES = 80_000_000
_FILE_FACTOR = 1.2


def run_probe(module: str, python: str, path: Path, threads: int) -> dict[str, float]:
    """Seconds from the start of a process to each event, and its memory then."""
    start_s = time.monotonic()
    found: dict[str, float] = {}
    with subprocess.Popen(
        [python, "-m", module, str(path), str(threads)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event, resident, highest = line.split()
            found[f"{event}_s"] = time.monotonic() - start_s
            found[f"{event}_resident_bytes"] = int(resident)
            found["peak_bytes"] = int(highest)
    if process.returncode or "done_s" not in found:
        raise RuntimeError(f"{module} ended with status {process.returncode}")
    return found


def run_command(python: str, path: Path, threads: int) -> float:
    """Seconds from starting `freehold run FILE QUESTION` to the first byte of its answer."""
    command = [python, "-m", "freehold", "run", str(path), _QUESTION]
    command += ["--max-tokens", "8", "--threads", str(threads)]
    start_s = time.monotonic()
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        seconds = time.monotonic() - start_s
        process.stdout.read()
    if process.returncode or not first:
        raise RuntimeError(f"`freehold run` ended with status {process.returncode}")
    return seconds


def kv_bytes(path: Path, tokens: int) -> int:
    """Keys and values of `tokens` tokens in float16, in whole pages of 64."""
    import gguf

    fields = gguf.GGUFReader(path).fields
    heads = int(fields["llama.attention.head_count"].contents())
    width = int(fields["llama.embedding_length"].contents()) // heads
    if "llama.attention.key_length" in fields:
        width = int(fields["llama.attention.key_length"].contents())
    layers = int(fields["llama.block_count"].contents())
    kv_heads = int(fields["llama.attention.head_count_kv"].contents())
    return -(-tokens // 64) * 64 * layers * kv_heads * width * 2 * 2


def measure_file(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides on one file, taking turns."""
    with path.open("rb") as file:
        while file.read(1 << 24):  # the disk is warm from here on
            pass
    sides = {
        "freehold": ("benchmarks.probe_freehold", options.freehold_python),
        "llama.cpp": ("benchmarks.probe_llama_cpp", sys.executable),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(options.runs):
        for name, (module, python) in sides.items():
            runs[name].append(run_probe(module, python, path, options.threads))
    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    first_s = [
        run_command(options.freehold_python, path, options.threads) for _ in range(options.runs)
    ]
    file_bytes = path.stat().st_size
    kept = kv_bytes(path, len(PROMPT) + GENERATE)
    bound = _FILE_FACTOR * file_bytes + kept + _ALLOWANCE_BYTES
    return {
        "file": path.name,
        "file_bytes": file_bytes,
        "kv_bytes": kept,
        "bound_bytes": bound,
        "within_bound": medians["freehold"]["peak_bytes"] <= bound,
        "freehold_run_first_token_s": statistics.median(first_s),
        "sides": medians,
        "runs": runs,
    }


def show(result: dict[str, Any]) -> None:
    """Print one file's table."""
    print(f"\n{result['file']}, {result['file_bytes'] / 1e6:,.0f} MB, page cache warm")
    rows = [
        [
            name,
            f"{found['ready_s']:.2f}",
            f"{found['first_s']:.2f}",
            f"{found['ready_resident_bytes'] / 1e6:,.0f}",
            f"{found['peak_bytes'] / 1e6:,.0f}",
            f"{found['peak_bytes'] / result['file_bytes']:.2f}",
        ]
        for name, found in result["sides"].items()
    ]
    print(table(["side", "ready s", "first s", "ready MB", "peak MB", "peak / file"], rows))
    verdict = "within" if result["within_bound"] else "ABOVE"
    print(
        f"freehold's peak is {verdict} 1.2 x file + KV + 80 MB = {result['bound_bytes'] / 1e6:,.0f}"
        f" MB; `freehold run`: first token after {result['freehold_run_first_token_s']:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="GGUF files of the llama architecture")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--freehold-python", default=sys.executable, help="the interpreter that has freehold"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON is kept")
    options = parser.parse_args()
    results = []
    for path in options.files:
        results.append(measure_file(path.resolve(), options))
        show(results[-1])
    print(f"\nkept in {write_result('memory', {'files': results}, folder=options.results)}")


if __name__ == "__main__":
    main()
