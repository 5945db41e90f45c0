"""Streaming chats over HTTP beside llama-server, both sides alternating in one run.

`python -m benchmarks.serving --dir DIR --starter FILE --llama-server PROGRAM`

Room: benchmarks. One light client process asks both; while one side answers the other must sleep,
which is checked. llama-server is taken at its best: every form of the model, with a cache of its
own for each slot and with one for all, is screened for each number of streams.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.conversations import question, request
from benchmarks.forms import STARTER_FORMS, starter_form
from benchmarks.record import RESULTS, table, write_result
from benchmarks.servers import Server, freehold, llama_server
from benchmarks.turns import second_turns
from benchmarks.workers import Worker

_REST_S = 0.2  # lets the other side's threads fall asleep
_IDLE_SHARE = 0.02  # of one core: more than this in the sleeping side spoils a run
_SLOT_TOKENS = 512
_TURN_TOKENS = 4096
_ASKED = {1: 1.5, 8: 1.7, 16: 2.0, 32: 2.0}  # the ratios that are claimed
_TURN_S = 0.150
_UNIFIED = ("--kv-unified",)


class Rounds:
    """Asks servers for streams, each round with prompts that nobody saw before."""

    def __init__(self, client: Worker, options: argparse.Namespace) -> None:
        self._client = client
        self._options = options
        self._seed = options.seed
        self.worst_idle_share = 0.0

    def new_seed(self) -> int:
        """For the prompts of one round; both sides get the same ones."""
        self._seed += 1000
        return int(self._seed)

    def run(
        self,
        server: Server,
        streams: int,
        *,
        seed: int,
        tokens: int,
        models: Sequence[str] = (),
        other: Server | None = None,
    ) -> dict[str, Any]:
        """One round; streams ask for `models` in turn, or all for the server's first.

        Raises: RuntimeError when an answer is not as long as was asked.
        """
        words, names = self._options.prompt_words, models or [server.model]
        bodies = [
            request(names[i % len(names)], question(seed + i, words=words), tokens=tokens)
            for i in range(streams)
        ]
        time.sleep(_REST_S)
        before_s = other.cpu_s() if other else 0.0
        message = {"host": server.host, "port": server.port, "bodies": bodies}
        result = self._client.ask("run", message)
        if other:
            # The kernel counts in hundredths of a second: two of them say nothing yet.
            busy_s = max(0.0, other.cpu_s() - before_s - 0.02)
            self.worst_idle_share = max(self.worst_idle_share, busy_s / result["wall_s"])
        counts = {stream["tokens"] for stream in result["streams"]}
        if counts != {tokens}:
            raise RuntimeError(f"{server.name} gave {counts} tokens instead of {tokens}")
        return {**result, "tokens_per_s": streams * tokens / result["wall_s"]}


def screen(rounds: Rounds, streams: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """llama-server's rate with each form, then the best form's with one cache for all slots."""
    forms = [starter_form(options.dir, form) for form in ("bf16", *STARTER_FORMS)]
    rows = [_screened(rounds, streams, path, (), options) for path in forms]
    best = max(rows, key=lambda row: row["tokens_per_s"])
    rows.append(_screened(rounds, streams, Path(best["path"]), _UNIFIED, options))
    return sorted(rows, key=lambda row: -row["tokens_per_s"])


def _screened(
    rounds: Rounds, streams: int, path: Path, extra: tuple[str, ...], options: argparse.Namespace
) -> dict[str, Any]:
    with _peer(path, streams, extra, options) as server:
        rounds.run(server, streams, seed=rounds.new_seed(), tokens=8)
        seed = rounds.new_seed()
        done = rounds.run(server, streams, seed=seed, tokens=options.screen_tokens)
    row = {"path": str(path), "options": list(extra), "tokens_per_s": done["tokens_per_s"]}
    print(f"  {streams:2} streams, {_name(row)}: {row['tokens_per_s']:.0f} tokens/s", flush=True)
    return row


def _peer(path: Path, streams: int, extra: tuple[str, ...], options: argparse.Namespace) -> Server:
    return llama_server(
        options.llama_server,
        path,
        slots=streams,
        slot_tokens=_SLOT_TOKENS,
        threads=options.threads,
        options=extra,
    )


def _name(row: dict[str, Any]) -> str:
    return " ".join([Path(row["path"]).stem, *row["options"]])


def compare(
    rounds: Rounds, ours: Server, streams: int, choice: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Both sides warm, then taking turns; who begins changes from round to round."""
    extra = tuple(choice["options"])
    with _peer(Path(choice["path"]), streams, extra, options) as theirs:
        for server in (ours, theirs):
            rounds.run(server, streams, seed=rounds.new_seed(), tokens=16)
        pairs: list[dict[str, dict[str, Any]]] = []
        for turn in range(options.rounds):
            seed = rounds.new_seed()
            order = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
            pair = {}
            for server in order:
                other = theirs if server is ours else ours
                pair[server.name] = rounds.run(
                    server, streams, seed=seed, tokens=options.tokens, other=other
                )
            pairs.append(pair)
    sides = {name: _summary([pair[name] for pair in pairs]) for name in pairs[0]}
    mine, peer = sides["freehold"], sides["llama-server"]
    ratios = [p["freehold"]["tokens_per_s"] / p["llama-server"]["tokens_per_s"] for p in pairs]
    return {
        "streams": streams,
        "llama-server ran": _name(choice),
        **sides,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "first_ratio": mine["first_s"]["median"] / peer["first_s"]["median"],
        "first_p95_ratio": mine["first_s"]["p95"] / peer["first_s"]["p95"],
    }


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians of some rounds; times over all their streams. Units: seconds."""
    streams = [stream for run in runs for stream in run["streams"]]
    gaps = [b - a for stream in streams for a, b in pairwise(stream["times_s"])]
    return {
        "tokens_per_s": statistics.median(run["tokens_per_s"] for run in runs),
        "rates": [run["tokens_per_s"] for run in runs],
        "first_s": _spread([stream["times_s"][0] for stream in streams]),
        "gap_s": _spread(gaps),
        "prompt_tokens": _spread([stream["prompt_tokens"] for stream in streams]),
        "cached_tokens": _spread([stream["cached_tokens"] for stream in streams]),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
        "max": ordered[-1],
    }


_HEADER = [
    "streams", "freehold", "llama-server", "ratio", "asked", "first", "theirs", "p95", "theirs",
    "gap", "theirs", "llama-server ran",
]  # fmt: skip


def _row(result: dict[str, Any]) -> list[str]:
    mine, peer = result["freehold"], result["llama-server"]
    times = [
        f"{1000 * side[kind][point]:.1f}"
        for kind, point in (("first_s", "median"), ("first_s", "p95"), ("gap_s", "median"))
        for side in (mine, peer)
    ]
    return [
        str(result["streams"]),
        f"{mine['tokens_per_s']:.0f}",
        f"{peer['tokens_per_s']:.0f}",
        f"{result['ratio']:.2f}",
        f"{_ASKED[result['streams']]:.1f}" if result["streams"] in _ASKED else "-",
        *times,
        result["llama-server ran"],
    ]


def _turns(client: Worker, ours: Server, options: argparse.Namespace) -> dict[str, Any]:
    """The second turn on both sides, one after the other."""
    path = starter_form(options.dir, "q4_0")
    peer = llama_server(
        options.llama_server, path, slots=1, slot_tokens=_TURN_TOKENS, threads=options.threads
    )
    with peer as theirs:
        sides = {
            server.name: second_turns(
                client, server, words=options.turn_words, rounds=options.turn_rounds
            )
            for server in (ours, theirs)
        }
    names = ("prompt_tokens", "cached_tokens", "cold_first_s", "second_first_s", "step_s")
    header = ["second turn", *names, "beyond_a_step_s", "same_again_first_s"]
    rows = [[name, *(f"{side[key]:.4g}" for key in header[1:])] for name, side in sides.items()]
    print("\n" + table(header, rows))
    beyond_s = sides["freehold"]["beyond_a_step_s"]
    print(f"{1000 * beyond_s:.0f} ms beyond one step; at most {1000 * _TURN_S:.0f} asked")
    return sides


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="the forms, see benchmarks.forms")
    parser.add_argument("--starter", type=Path, required=True, help="the starter model's file")
    parser.add_argument("--llama-server", type=Path, required=True, help="llama.cpp's server")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--screen-tokens", type=int, default=64)
    parser.add_argument("--prompt-words", type=int, default=10, help="10 make about 40 tokens")
    parser.add_argument("--seed", type=int, default=0, help="for other prompts")
    parser.add_argument("--screening", type=Path, help="an earlier result whose choices are used")
    parser.add_argument("--screen-only", action="store_true")
    parser.add_argument("--turn-words", type=int, default=2880)
    parser.add_argument("--turn-rounds", type=int, default=3, help="0 leaves them out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--freehold-python", default=sys.executable, help="the interpreter that has freehold"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON is kept")
    return parser.parse_args()


def main() -> None:
    options = _options()
    kept: dict[str, Any] = {"threads": options.threads, "tokens": options.tokens}
    with Worker("benchmarks.http_streams") as client, tempfile.TemporaryDirectory() as home:
        rounds = Rounds(client, options)
        if options.screening:
            kept["screening"] = json.loads(options.screening.read_text())["screening"]
        else:
            kept["screening"] = {str(n): screen(rounds, n, options) for n in options.streams}
        if not options.screen_only:
            ours_at = freehold(
                options.freehold_python, options.starter, threads=options.threads, home=Path(home)
            )
            with ours_at as ours:
                kept |= _measured(rounds, client, ours, kept["screening"], options)
    print(f"\nkept in {write_result('serving', kept, folder=options.results)}")


def _measured(
    rounds: Rounds,
    client: Worker,
    ours: Server,
    screening: dict[str, list[dict[str, Any]]],
    options: argparse.Namespace,
) -> dict[str, Any]:
    cases = [compare(rounds, ours, n, screening[str(n)][0], options) for n in options.streams]
    print(f"\ntokens/s, and milliseconds: medians of {options.rounds} rounds")
    print(table(_HEADER, [_row(case) for case in cases]))
    print(f"the sleeping side used at most {rounds.worst_idle_share:.1%} of a core")
    if rounds.worst_idle_share > _IDLE_SHARE:
        print("WARNING: that is too much; distrust this run")
    kept: dict[str, Any] = {"cases": cases, "worst_idle_share": rounds.worst_idle_share}
    if options.turn_rounds:
        kept["second_turn"] = _turns(client, ours, options)
    return kept


if __name__ == "__main__":
    main()
