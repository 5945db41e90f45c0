"""Tokens a second beside llama.cpp, both sides alternating in one run.

`python -m benchmarks.speed --dir DIR --starter FILE [--suite NAME ...]`

Room: benchmarks. A worker process per side; while one computes the other must sleep, which is
checked. llama.cpp is taken at its best: every file of the suite, flash attention on and off, is
screened for each case, and the fastest one meets ours in the pairs that count.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, table, write_result
from benchmarks.suites import FILE_NAME, NAMES, Case, Suite, suite
from benchmarks.workers import Worker

_REST_S = 0.3  # lets the other side's threads fall asleep
_IDLE_SHARE = 0.02  # of one core: more than this in the sleeping worker spoils a run


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A file and, for llama.cpp, the attention it runs with."""

    path: Path
    flash: bool | None = None
    kv_bits: int = 16

    @property
    def name(self) -> str:
        """For tables: the file, and the attention if there is a choice."""
        attention = {None: "", True: ", flash", False: ", plain"}[self.flash]
        return f"{self.path.stem}{attention}" + (", int8 KV" if self.kv_bits == 8 else "")


@dataclass(kw_only=True)
class Contender:
    """A worker, the file it holds and the most that any other worker computed meanwhile."""

    worker: Worker
    threads: int
    context_tokens: int
    loaded: tuple[Path, int] | None = None
    other: Contender | None = field(default=None, repr=False)
    worst_idle_share: float = 0.0

    def run(self, case: Case, variant: Variant) -> float:
        """Tokens a second of one run, the other side asleep."""
        # Ours fixes how it keeps keys and values when it loads, llama.cpp with each context.
        held = (variant.path, variant.kv_bits if variant.flash is None else 16)
        if self.loaded != held:
            self.worker.ask(
                "load",
                {
                    "path": str(variant.path),
                    "threads": self.threads,
                    "context_tokens": self.context_tokens,
                    "kv_bits": held[1],
                },
            )
            self.loaded = held
        request: dict[str, Any] = dict(case.request)
        if variant.flash is not None:
            request |= {"flash": variant.flash, "kv_bits": variant.kv_bits}
        time.sleep(_REST_S)
        before_s = self.other.worker.cpu_s() if self.other else 0.0
        start_s = time.monotonic()
        rate = float(self.worker.ask(case.kind, request)["tokens_per_s"])
        if self.other:
            wall_s = time.monotonic() - start_s
            # The kernel counts in hundredths of a second: two of them say nothing yet.
            busy_s = max(0.0, self.other.worker.cpu_s() - before_s - 0.02)
            self.worst_idle_share = max(self.worst_idle_share, busy_s / wall_s)
        return rate


def fastest(
    contender: Contender, case: Case, variants: Sequence[Variant], *, runs: int
) -> tuple[Variant, dict[str, float]]:
    """The variant with the best run, and every variant's best run."""
    if len(variants) == 1:
        return variants[0], {}
    rates = {v: max(contender.run(case, v) for _ in range(runs)) for v in variants}
    return max(rates, key=lambda v: rates[v]), {v.name: rate for v, rate in rates.items()}


def measure_case(
    case: Case, plan: Suite, ours: Contender, peer: Contender, options: argparse.Namespace
) -> dict[str, Any]:
    """Screen each side's variants, warm both up, then alternate."""
    choices = [Variant(path=p, flash=flash) for p in plan.peers for flash in (True, False)]
    if options.kv_bits == 8:  # which llama.cpp has with flash attention alone
        choices += [Variant(path=p, flash=True, kv_bits=8) for p in plan.peers]
    theirs, screened = fastest(peer, case, choices, runs=options.screen)
    mine, our_screened = fastest(
        ours,
        case,
        [Variant(path=path, kv_bits=options.kv_bits) for path in plan.ours],
        runs=options.screen,
    )
    ours.run(case, mine)
    peer.run(case, theirs)
    pairs = [(ours.run(case, mine), peer.run(case, theirs)) for _ in range(options.pairs)]
    ratios = [mine_rate / their_rate for mine_rate, their_rate in pairs]
    return {
        "suite": plan.name,
        "case": case.name,
        **dataclasses.asdict(case),
        "freehold": {"variant": mine.name, **spread([pair[0] for pair in pairs])},
        "llama.cpp": {"variant": theirs.name, **spread([pair[1] for pair in pairs])},
        "ratio": spread(ratios),
        "pairs": pairs,
        "screening": {**screened, **{f"freehold {k}": v for k, v in our_screened.items()}},
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def run_suite(plan: Suite, options: argparse.Namespace) -> dict[str, Any]:
    """All cases of a suite with two fresh workers."""
    context_tokens = max(case.context_tokens for case in plan.cases)
    cases = [case for case in plan.cases if not options.case or case.name in options.case]
    with (
        Worker(
            "benchmarks.side_freehold", python=options.freehold_python, threads=options.threads
        ) as our_worker,
        Worker("benchmarks.side_llama_cpp", threads=options.threads) as peer_worker,
    ):
        ours, peer = (
            Contender(worker=worker, threads=options.threads, context_tokens=context_tokens)
            for worker in (our_worker, peer_worker)
        )
        ours.other, peer.other = peer, ours
        about = {"freehold": our_worker.ask("describe"), "llama.cpp": peer_worker.ask("describe")}
        results = []
        for case in cases:
            results.append(measure_case(case, plan, ours, peer, options))
            print(f"  {case.name}: {results[-1]['ratio']['median']:.2f}", flush=True)
        busiest = max(ours.worst_idle_share, peer.worst_idle_share)
        print(f"the sleeping side used at most {busiest:.1%} of a core")
        if busiest > _IDLE_SHARE:
            print("WARNING: that is too much; distrust this run")
    return {"sides": about, "worst_idle_share": busiest, "cases": results}


_HEADER = ["case", "freehold", "llama.cpp", "ratio", "min", "max", "llama.cpp ran"]


def _row(result: dict[str, Any]) -> list[str]:
    ratio = result["ratio"]
    return [
        result["case"],
        f"{result['freehold']['median']:.1f}",
        f"{result['llama.cpp']['median']:.1f}",
        f"{ratio['median']:.2f}",
        f"{ratio['min']:.2f}",
        f"{ratio['max']:.2f}",
        result["llama.cpp"]["variant"],
    ]


def run_transformers(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """transformers in float32 and bfloat16 on the BF16 form, by itself after the pairs."""
    from benchmarks.forms import starter_form

    rows = []
    for dtype in ("float32", "bfloat16"):
        with Worker("benchmarks.side_transformers", threads=options.threads) as worker:
            load = {"path": str(starter_form(folder, "bf16")), "dtype": dtype}
            worker.ask("load", {**load, "threads": options.threads})
            for case in (Case(kind="prefill", tokens=512), Case(kind="decode", tokens=32)):
                rates = [worker.ask(case.kind, case.request)["tokens_per_s"] for _ in range(3)]
                rows.append({"dtype": dtype, "case": case.name, **spread(rates)})
    print("\ntransformers")
    print(
        table(
            ["case", "dtype", "tokens/s"],
            [[row["case"], row["dtype"], f"{row['median']:.1f}"] for row in rows],
        )
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="the forms, see benchmarks.forms")
    parser.add_argument("--starter", type=Path, required=True, help="the starter model's file")
    parser.add_argument("--suite", nargs="+", choices=(*NAMES, FILE_NAME), default=list(NAMES))
    parser.add_argument("--files", type=Path, nargs="+", default=[], help="of the suite `file`")
    parser.add_argument("--case", nargs="+", help='only these, such as "pp512" "tg64 @4096"')
    parser.add_argument("--ours", type=Path, nargs="+", help="our files instead of the suite's")
    parser.add_argument(
        "--kv-bits", type=int, choices=(8, 16), default=16, help="of ours; 8: also of llama.cpp"
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--screen", type=int, default=2, help="runs per variant when choosing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--transformers", action="store_true", help="also transformers' rows")
    parser.add_argument(
        "--freehold-python", default=sys.executable, help="the interpreter that has freehold"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON is kept")
    options = parser.parse_args()
    kept: dict[str, Any] = {"threads": options.threads, "suites": {}}
    for name in options.suite:
        plan = suite(name, starter=options.starter, folder=options.dir, files=tuple(options.files))
        if options.ours:
            plan = dataclasses.replace(plan, ours=tuple(options.ours))
        print(f"\n{name}: {options.pairs} pairs, {options.threads} threads, tokens/s (median)")
        kept["suites"][name] = run_suite(plan, options)
        print(table(_HEADER, [_row(case) for case in kept["suites"][name]["cases"]]))
    if options.transformers:
        kept["transformers"] = run_transformers(options.dir, options)
    print(f"\nkept in {write_result('speed', kept, folder=options.results)}")


if __name__ == "__main__":
    main()
