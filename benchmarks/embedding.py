"""200 short texts to vectors beside onnxruntime, both sides alternating in one run.

`python -m benchmarks.embedding --model DIR --onnx FILE --text FILE`

Room: benchmarks. A worker process per side; each takes the same texts and gives normalised vectors,
tokenizing included. onnxruntime is taken at its best: every batch size is screened for each case.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, table, write_result
from benchmarks.workers import Worker

COUNT = 200
BATCHES = (1, 2, 4, 8, 16, 32, 64, 200)
_REST_S = 0.3  # lets the other side's threads fall asleep
_PHRASE_WORDS = 8


def cases(text: str) -> dict[str, list[str]]:
    """The first sentences of 4 to 40 words, whole and cut to phrases as people search for."""
    plain = re.sub(r"\s+", " ", text)
    found = [part.strip() for part in re.split(r"(?<=[.!?]) ", plain)]
    sentences = [part for part in found if 4 <= len(part.split()) <= 40][:COUNT]
    if len(sentences) < COUNT:
        raise SystemExit(f"the text has {len(sentences)} sentences of 4 to 40 words; need {COUNT}")
    phrases = [" ".join(sentence.split()[:_PHRASE_WORDS]) for sentence in sentences]
    return {"sentences": sentences, "phrases": phrases}


class Sides:
    """Both workers, of which one rests while the other works."""

    def __init__(self, ours: Worker, peer: Worker) -> None:
        self.ours, self.peer = ours, peer
        self.worst_idle_share = 0.0

    def run(self, worker: Worker, request: dict[str, Any]) -> float:
        """Seconds of one run, and how busy the other side was meanwhile."""
        other = self.peer if worker is self.ours else self.ours
        time.sleep(_REST_S)
        before_s, start_s = other.cpu_s(), time.monotonic()
        seconds = float(worker.ask("embed", request)["seconds"])
        wall_s = time.monotonic() - start_s
        # The kernel counts in hundredths of a second: two of them say nothing yet.
        busy_s = max(0.0, other.cpu_s() - before_s - 0.02)
        self.worst_idle_share = max(self.worst_idle_share, busy_s / wall_s)
        return seconds


def measure(sides: Sides, texts: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """The peer's best batch size, then both sides in turn."""
    screened = {
        batch: min(
            sides.run(sides.peer, {"texts": texts, "batch": batch}) for _ in range(options.screen)
        )
        for batch in BATCHES
    }
    batch = min(screened, key=lambda size: screened[size])
    request = {"texts": texts, "batch": batch}
    sides.run(sides.ours, request)
    pairs = [
        (sides.run(sides.ours, request), sides.run(sides.peer, request))
        for _ in range(options.pairs)
    ]
    return {
        "freehold_s": spread([ours for ours, _ in pairs]),
        "onnxruntime_s": spread([peer for _, peer in pairs]),
        "ratio": spread([peer / ours for ours, peer in pairs]),
        "batch": batch,
        "screening_s": screened,
        "pairs_s": pairs,
    }


def cosines(sides: Sides, texts: list[str], batch: int, options: argparse.Namespace) -> Any:
    """How near each side is to a float32 run, which the tests hold to transformers."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: str(Path(folder) / f"{name}.npy") for name in ("freehold", "peer", "exact")}
        sides.ours.ask("embed", {"texts": texts, "out": kept["freehold"]})
        sides.peer.ask("embed", {"texts": texts, "batch": batch, "out": kept["peer"]})
        sides.ours.ask("load", load(options, precision="float32"))
        sides.ours.ask("embed", {"texts": texts, "out": kept["exact"]})
        vectors = {name: np.load(path).astype(np.float64) for name, path in kept.items()}
    found = {}
    for name in ("freehold", "peer"):
        each = (vectors[name] * vectors["exact"]).sum(axis=1)
        found[name] = {"mean": float(each.mean()), "least": float(each.min())}
    sides.ours.ask("load", load(options, precision="int16"))
    return found


def load(options: argparse.Namespace, *, precision: str) -> dict[str, Any]:
    return {"path": str(options.model), "threads": options.threads, "precision": precision}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _row(name: str, result: dict[str, Any]) -> list[str]:
    ratio, near = result["ratio"], result["cosine"]
    return [
        name,
        f"{1000 * result['freehold_s']['median']:.0f}",
        f"{1000 * result['onnxruntime_s']['median']:.0f}",
        f"{ratio['median']:.2f}",
        f"{ratio['min']:.2f}",
        f"{ratio['max']:.2f}",
        str(result["batch"]),
        f"{near['freehold']['least']:.6f}",
        f"{near['peer']['least']:.6f}",
    ]


_HEADER = [
    "case",
    "freehold",
    "onnx",
    "ratio",
    "min",
    "max",
    "batch",
    "our least cosine",
    "its least cosine",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="our model's directory")
    parser.add_argument("--onnx", type=Path, required=True, help="the peer's model.onnx")
    parser.add_argument("--text", type=Path, required=True, help="any English text")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--screen", type=int, default=2, help="runs per batch size when choosing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--freehold-python", default=sys.executable, help="the interpreter that has freehold"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON is kept")
    options = parser.parse_args()
    kept: dict[str, Any] = {"threads": options.threads, "texts": COUNT, "cases": {}}
    with (
        Worker(
            "benchmarks.side_embedder", python=options.freehold_python, threads=options.threads
        ) as our_worker,
        Worker("benchmarks.side_onnxruntime", threads=options.threads) as peer_worker,
    ):
        sides = Sides(our_worker, peer_worker)
        peer_load = {"path": str(options.onnx), "threads": options.threads}
        tokenizer = {"tokenizer": str(options.model / "tokenizer.json")}
        kept["sides"] = {
            "freehold": our_worker.ask("load", load(options, precision="int16")),
            "onnxruntime": peer_worker.ask("load", peer_load | tokenizer),
        }
        for name, texts in cases(options.text.read_text("utf-8")).items():
            result = measure(sides, texts, options)
            result["cosine"] = cosines(sides, texts, result["batch"], options)
            kept["cases"][name] = result
        kept["worst_idle_share"] = sides.worst_idle_share
    print(f"{COUNT} texts, {options.threads} threads, milliseconds (median of {options.pairs})")
    print(table(_HEADER, [_row(name, result) for name, result in kept["cases"].items()]))
    print(f"the sleeping side used at most {sides.worst_idle_share:.1%} of a core")
    print(f"kept in {write_result('embedding', kept, folder=options.results)}")


if __name__ == "__main__":
    main()
