"""How far a side's logits are from a float32 run of the same file's dequantised weights.

`python -m benchmarks.divergence --text TEXT --cache DIR FILE...`

Room: benchmarks. The oracle is transformers in float32. For every position of real text:
KL(oracle || side) and whether both put the same token first. llama.cpp is measured with flash
attention on and off; Freehold is held against the better of the two.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, table, write_result
from benchmarks.workers import Worker

_ROWS_AT_ONCE = 128
_BLOCK_TOKENS = 32  # neighbouring positions are not independent; resample blocks of them
_RESAMPLES = 4000
_SIDES = ("llama.cpp flash", "llama.cpp plain", "freehold", "freehold kv8")


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Per position: KL in nats, and whether the most likely token is the oracle's."""

    kl: np.ndarray[Any, Any]
    agrees: np.ndarray[Any, Any]

    def summary(self) -> dict[str, float]:
        """The figures that are compared."""
        return {
            "mean_kl": float(self.kl.mean()),
            "p99_kl": float(np.quantile(self.kl, 0.99)),
            "max_kl": float(self.kl.max()),
            "top1_agreement": float(self.agrees.mean()),
        }


def divergence(oracle: np.ndarray[Any, Any], side: np.ndarray[Any, Any]) -> Divergence:
    """Compare logits position by position, in float64.

    Shapes: (N, T, V) twice -> (N * T,).
    """
    vocabulary = oracle.shape[-1]
    oracle, side = oracle.reshape(-1, vocabulary), side.reshape(-1, vocabulary)
    kl, agrees = np.empty(len(oracle)), np.empty(len(oracle), bool)
    for start in range(0, len(oracle), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        p, q = log_probabilities(oracle[rows]), log_probabilities(side[rows])
        kl[rows] = (np.exp(p) * (p - q)).sum(axis=-1)
        agrees[rows] = p.argmax(axis=-1) == q.argmax(axis=-1)
    if not np.isfinite(kl).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(kl))} positions have no finite KL")
    return Divergence(kl=kl, agrees=agrees)


def log_probabilities(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Log-softmax over the last axis in float64."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def mean_difference_interval(
    ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]
) -> list[float]:
    """95 % interval of mean(ours - theirs) by a paired block bootstrap."""
    difference = ours.astype(np.float64) - theirs.astype(np.float64)
    blocks = difference[: len(difference) // _BLOCK_TOKENS * _BLOCK_TOKENS]
    means = blocks.reshape(-1, _BLOCK_TOKENS).mean(axis=1)
    rng = np.random.default_rng(2889)
    draws = means[rng.integers(0, len(means), (_RESAMPLES, len(means)))].mean(axis=1)
    return [float(edge) for edge in np.quantile(draws, [0.025, 0.975])]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One file, its text and where its logits are kept between runs."""

    model: Path
    cache: Path
    options: argparse.Namespace

    def prepare(self, text: str) -> None:
        """Write the chunks of token ids, tokenised by the file's own tokenizer."""
        if self.ids.exists():
            return
        shape = (self.options.chunks, self.options.chunk_tokens)
        with self._worker("side_llama_cpp") as worker:
            worker.ask("load", {"path": str(self.model), "threads": self.options.threads})
            ids = worker.ask("tokenize", {"text": text})["ids"]
        needed = shape[0] * shape[1]
        if len(ids) < needed:
            raise ValueError(f"the text has {len(ids)} tokens, {needed} are needed")
        np.save(self.ids, np.array(ids[:needed], np.int32).reshape(shape))

    @property
    def ids(self) -> Path:
        """The chunks of token ids, (N, T)."""
        return self.cache / "ids.npy"

    def oracle(self) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """The oracle's logits and, when they were made now, how eager attention differs."""
        out = self.cache / "oracle.npy"
        facts: dict[str, Any] = {}
        if not out.exists():
            facts = self._logits("side_transformers", out, {})
        return np.load(out, mmap_mode="r"), facts

    def side(self, name: str) -> np.ndarray[Any, Any]:
        """A side's logits; ours are made anew each time."""
        out = self.cache / f"{name.replace(' ', '-')}.npy"
        if name.startswith("freehold"):
            self._logits("side_freehold", out, {}, kv_bits=8 if name.endswith("kv8") else 16)
        elif not out.exists():
            self._logits("side_llama_cpp", out, {"flash": name.endswith("flash")})
        logits: np.ndarray[Any, Any] = np.load(out, mmap_mode="r")
        return logits

    def _logits(
        self, module: str, out: Path, extra: dict[str, Any], *, kv_bits: int | None = None
    ) -> dict[str, Any]:
        part = out.with_suffix(".part")
        with self._worker(module) as worker:
            load = {"path": str(self.model), "threads": self.options.threads}
            if kv_bits is not None:
                load["kv_bits"] = kv_bits
            worker.ask("load", {**load, "context_tokens": self.options.chunk_tokens})
            answer = worker.ask("logits", {"ids": str(self.ids), "out": str(part), **extra})
        part.rename(out)
        return answer

    def _worker(self, module: str) -> Worker:
        ours = module == "side_freehold"
        python = self.options.freehold_python if ours else sys.executable
        return Worker(f"benchmarks.{module}", python=python, threads=self.options.threads)


def measure_file(run: Run, text: str, sides: list[str]) -> dict[str, Any]:
    """Everything about one file: a summary per side, and ours minus llama.cpp's better."""
    run.cache.mkdir(parents=True, exist_ok=True)
    run.prepare(text)
    oracle, facts = run.oracle()
    found = {name: divergence(oracle, run.side(name)) for name in sides}
    result: dict[str, Any] = {
        "file": run.model.name,
        "positions": int(oracle.shape[0] * oracle.shape[1]),
        **facts,
        "sides": {name: each.summary() for name, each in found.items()},
    }
    peers = [name for name in found if not name.startswith("freehold")]
    if "freehold" in found and peers:
        result["against"] = {}
        better_kl = min(peers, key=lambda name: found[name].kl.mean())
        better_top = max(peers, key=lambda name: found[name].agrees.mean())
        ours = found["freehold"]
        result["against"] = {
            "mean_kl_peer": better_kl,
            "mean_kl_ratio": float(ours.kl.mean() / found[better_kl].kl.mean()),
            "mean_kl_difference_95": mean_difference_interval(ours.kl, found[better_kl].kl),
            "top1_peer": better_top,
            "top1_difference_95": mean_difference_interval(ours.agrees, found[better_top].agrees),
        }
    return result


def show(result: dict[str, Any]) -> None:
    """Print one file's table."""
    print(f"\n{result['file']}, {result['positions']} positions")
    rows = [
        [name, f"{s['mean_kl']:.3e}", f"{s['p99_kl']:.3e}", f"{s['top1_agreement']:.4f}"]
        for name, s in result["sides"].items()
    ]
    print(table(["side", "mean KL", "p99 KL", "same top token"], rows))
    against = result.get("against")
    if against:
        low, high = against["mean_kl_difference_95"]
        low_top, high_top = against["top1_difference_95"]
        print(
            f"mean KL ratio to {against['mean_kl_peer']}: {against['mean_kl_ratio']:.3f}"
            f" (difference {low:+.2e} .. {high:+.2e});"
            f" top-1 against {against['top1_peer']}: {low_top:+.4f} .. {high_top:+.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="GGUF files of the llama architecture")
    parser.add_argument("--text", type=Path, required=True, help="real text, UTF-8")
    parser.add_argument("--cache", type=Path, required=True, help="keeps logits between runs")
    parser.add_argument("--chunks", type=int, default=5)
    parser.add_argument("--chunk-tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=_SIDES, default=list(_SIDES))
    parser.add_argument(
        "--freehold-python", default=sys.executable, help="the interpreter that has freehold"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON is kept")
    options = parser.parse_args()
    text = options.text.read_text("utf-8")
    results = []
    for model in options.files:
        key = hashlib.sha256(f"{model.resolve()}{model.stat().st_size}{text}".encode()).hexdigest()
        folder = f"{model.stem}-{key[:12]}-{options.chunks}x{options.chunk_tokens}"
        run = Run(model=model, cache=options.cache / folder, options=options)
        results.append(measure_file(run, text, options.sides))
        show(results[-1])
    if "freehold" in options.sides:
        print(f"\nkept in {write_result('divergence', {'files': results}, folder=options.results)}")


if __name__ == "__main__":
    main()
