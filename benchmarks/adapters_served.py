"""Sixteen adapters served at once beside the base model: streams over HTTP, rounds taking turns.

`python -m benchmarks.adapters_served MODEL`

Room: benchmarks. One server holds the base and the adapters; in a round every stream asks for the
base, or each for another adapter. `benchmarks.adapters` has the steps alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.adapters import write_adapter
from benchmarks.conversations import question, request
from benchmarks.record import RESULTS, table, write_result
from benchmarks.servers import Server, freehold
from benchmarks.workers import Worker
from freehold import ops
from freehold.loading import load_model
from freehold.models.decoder import Decoder

_REST_S = 0.2
_WORDS = 16  # of a prompt


def served(server: Server, client: Worker, names: list[str], seed: int, tokens: int) -> float:
    """Tokens a second of one stream for each name. Raises: RuntimeError for a short answer."""
    bodies = [
        request(name, question(seed + i, words=_WORDS), tokens=tokens)
        for i, name in enumerate(names)
    ]
    time.sleep(_REST_S)
    result = client.ask("run", {"host": server.host, "port": server.port, "bodies": bodies})
    counts = {stream["tokens"] for stream in result["streams"]}
    if counts != {tokens}:
        raise RuntimeError(f"streams of {counts} tokens instead of {tokens}")
    return float(len(names) * tokens / result["wall_s"])


def compare(
    server: Server, client: Worker, adapters: list[str], streams: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Medians of rounds, and of the ratio of each pair; who begins changes."""
    sides = {
        "base": [server.model] * streams,
        "adapters": [adapters[i % len(adapters)] for i in range(streams)],
    }
    for names in sides.values():
        served(server, client, names, 0, 16)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.rounds):
        for name in sorted(sides, reverse=turn % 2 == 1):
            seed = 1000 * (turn + 1) + 100_000 * streams
            rates[name].append(served(server, client, sides[name], seed, options.tokens))
    ratios = [a / b for a, b in zip(rates["adapters"], rates["base"], strict=True)]
    return {
        "streams": streams,
        "tokens_per_s": rates,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a decoder's GGUF file or directory")
    parser.add_argument("--adapters", type=int, default=16)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--streams", type=int, nargs="*", default=[16, 32])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    model = load_model(options.model).model
    assert isinstance(model, Decoder), "a decoder is needed"
    names = [f"adapter-{i}" for i in range(options.adapters)]
    with tempfile.TemporaryDirectory() as folder, Worker("benchmarks.http_streams") as client:
        home = Path(folder)
        server = freehold(sys.executable, options.model, threads=options.threads, home=home)
        for seed, name in enumerate(names):
            path = write_adapter(model, home / name, rank=options.rank, seed=seed)
            server.command += ["--adapter", f"{name}={path}"]
        with server:
            cases = [compare(server, client, names, n, options) for n in options.streams]
    rows = [
        [
            str(case["streams"]),
            *(
                f"{statistics.median(case['tokens_per_s'][side]):.0f}"
                for side in ("base", "adapters")
            ),
            f"{case['ratio']:.3f}",
            f"{min(case['ratios']):.3f} to {max(case['ratios']):.3f}",
        ]
        for case in cases
    ]
    print(table(["streams", "base tokens/s", "adapters", "ratio", "of pairs"], rows))
    facts = {"model": options.model.name, "isa": ops.isa_name(), "threads": options.threads}
    asked = {"adapters": options.adapters, "rank": options.rank, "tokens": options.tokens}
    print(
        write_result("adapters_served", {**facts, **asked, "cases": cases}, folder=options.results)
    )


if __name__ == "__main__":
    main()
