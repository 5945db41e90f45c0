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
from pathlib import Path
from typing import Any

from benchmarks.adapters import arguments, write_adapter
from benchmarks.record import table, write_result
from benchmarks.servers import Server, freehold
from benchmarks.serving import Rounds
from benchmarks.workers import Worker
from freehold import ops
from freehold.loading import load_model
from freehold.models.decoder import Decoder


def compare(
    rounds: Rounds, server: Server, adapters: list[str], streams: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Medians of rounds, and of the ratio of each pair; who begins changes."""
    sides: dict[str, list[str]] = {"base": [], "adapters": adapters}
    for names in sides.values():
        rounds.run(server, streams, seed=rounds.new_seed(), tokens=16, models=names)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.rounds):
        seed = rounds.new_seed()
        for name in sorted(sides, reverse=turn % 2 == 1):
            done = rounds.run(server, streams, seed=seed, tokens=options.tokens, models=sides[name])
            rates[name].append(done["tokens_per_s"])
    ratios = [a / b for a, b in zip(rates["adapters"], rates["base"], strict=True)]
    return {
        "streams": streams,
        "tokens_per_s": rates,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, nargs="*", default=[16, 32])
    parser.add_argument("--tokens", type=int, default=192, help="of each answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-words", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="for other prompts")
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
            rounds = Rounds(client, options)
            cases = [compare(rounds, server, names, n, options) for n in options.streams]
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
