"""What our quantizer and llama.cpp's lose at the same size, fitted to the same text.

`python -m benchmarks.quantize FILE --calibration TEXT --heldout TEXT --freehold-python PYTHON`

Room: benchmarks. The source is BF16: a quantized FILE is dequantised first. For every position of
the held-out text: KL(source || file) of transformers in float32 on either side, so that only the
weights differ; and of llama.cpp running the file, for who wonders whether it does so as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.divergence import divergence, mean_difference_interval
from benchmarks.record import RESULTS, table, write_result
from benchmarks.workers import Worker

_FILE_TYPES = {"Q4_0": 2, "Q8_0": 7, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_S": 14, "Q4_K_M": 15,
               "Q5_K_M": 17, "Q6_K": 18}  # fmt: skip
_PIECE_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One source, its texts, and the folder where files and logits lie."""

    source: Path
    folder: Path
    options: argparse.Namespace

    def ids(self, name: str, text: Path, tokens: int) -> Path:
        """A text's ids in pieces, (N, 512)."""
        out = self.folder / f"{name}.npy"
        if not out.exists():
            with self._worker("side_llama_cpp") as worker:
                worker.ask("load", {"path": str(self.source), "threads": self.options.threads})
                ids = worker.ask("tokenize", {"text": text.read_text("utf-8")})["ids"]
            count = min(tokens, len(ids)) // _PIECE_TOKENS
            np.save(out, np.array(ids[: count * _PIECE_TOKENS], np.int32).reshape(count, -1))
        return out

    def theirs(self, recipe: str) -> tuple[Path, dict[str, Any]]:
        """llama.cpp's file, the seconds of its quantizer, and with the importance matrix."""
        matrix, out = self.folder / "importance.npz", self.folder / f"llama.cpp-{recipe}.gguf"
        with self._worker("side_quantizer") as worker:
            request = {"path": str(self.source), "threads": self.options.threads}
            ids = self.ids("calibration", self.options.calibration, self.options.tokens)
            os.sync()
            led = worker.ask("importance", request | {"ids": str(ids), "out": str(matrix)})
            request |= {"out": str(out), "importance": str(matrix)}
            answer = worker.ask("quantize", request | {"file_type": _FILE_TYPES[recipe]})
        seconds = answer["seconds"]
        return out, {"encode_s": seconds, "whole_s": led["seconds"] + seconds}

    def ours(self, recipe: str, method: str) -> tuple[Path, dict[str, Any]]:
        """Our file, and the command's seconds: fitting and encoding, and all but the judging."""
        out = self.folder / f"freehold-{method}-{recipe}.gguf"
        command = [self.options.freehold_python, "-m", "freehold", "quantize", str(self.source)]
        command += [recipe, "--output", str(out), "--force", "--json", "--method", method]
        command += ["--calibration", str(self.options.calibration)]
        command += ["--tokens", str(self.options.tokens), "--heldout", str(self.options.heldout)]
        command += ["--heldout-tokens", "64", "--threads", str(self.options.threads)]
        os.sync()  # ours waits for its own file to reach the disk, not for what others left
        start_s = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        said = json.loads(done.stdout)
        all_s = time.perf_counter() - start_s
        return out, {
            "encode_s": said["encode_s"],
            "whole_s": all_s - said["measure_s"],
            "all_s": all_s,
        }

    def logits(self, model: Path, side: str) -> np.ndarray[Any, Any]:
        """A file's logits of the held-out text by one of the two programs."""
        ids = self.ids("heldout", self.options.heldout, self.options.heldout_tokens)
        out = self.folder / f"{model.stem}-{side}.logits.npy"
        if not out.exists() or model != self.source:
            with self._worker(side) as worker:
                load = {"path": str(model), "threads": self.options.threads}
                worker.ask("load", load | {"context_tokens": _PIECE_TOKENS})
                extra = {"flash": True} if side == "side_llama_cpp" else {}
                part = out.with_suffix(".part")
                worker.ask("logits", {"ids": str(ids), "out": str(part), **extra})
            part.rename(out)
        logits: np.ndarray[Any, Any] = np.load(out, mmap_mode="r")
        if model != self.source:
            out.unlink()  # the mapping keeps it until it is done with
        return logits

    def _worker(self, module: str) -> Worker:
        return Worker(f"benchmarks.{module}", threads=self.options.threads)


def compare(bench: Bench, recipe: str) -> dict[str, Any]:
    """Both sides' file of one recipe: size, seconds, and what each loses."""
    files: dict[str, dict[str, Any]] = {}
    path, seconds = bench.theirs(recipe)
    files["llama.cpp"] = {"path": path, **seconds}
    for method in bench.options.methods:
        path, said = bench.ours(recipe, method)
        files[f"freehold {method}"] = {"path": path, **said}
    source = bench.logits(bench.source, "side_transformers")
    kls = {}
    for name, file in files.items():
        path = file.pop("path")
        file["size_bytes"] = path.stat().st_size
        exact = bench.logits(path, "side_transformers")
        found = divergence(source, exact)
        kls[name] = found.kl
        file["weights"] = found.summary()
        if not bench.options.weights_only:
            run = bench.logits(path, "side_llama_cpp")
            file["in_llama_cpp"] = divergence(source, run).summary()
            file["llama_cpp_noise"] = divergence(exact, run).summary()
        path.unlink()
    base = files["llama.cpp"]["weights"]["mean_kl"]
    for name, file in files.items():
        file["ratio"] = file["weights"]["mean_kl"] / base
        file["difference_95"] = mean_difference_interval(kls[name], kls["llama.cpp"])
    return {"recipe": recipe, "files": files}


def show(result: dict[str, Any]) -> None:
    """Print one recipe's table."""
    rows = []
    for name, file in result["files"].items():
        weights, run = file["weights"], file.get("in_llama_cpp", {})
        noise = file.get("llama_cpp_noise", {})
        rows.append(
            [
                name,
                f"{file['size_bytes'] / 1e6:.2f}",
                f"{file['encode_s']:.1f}",
                f"{file['whole_s']:.1f}",
                f"{weights['mean_kl']:.4f}",
                f"{weights['p99_kl']:.3f}",
                f"{weights['top1_agreement']:.3f}",
                f"{file['ratio']:.3f}",
                f"{run.get('mean_kl', float('nan')):.4f}",
                f"{noise.get('mean_kl', float('nan')):.4f}",
            ]
        )
    header = ["side", "MB", "encode s", "whole s", "mean KL", "p99 KL", "same top", "ratio",
              "KL run", "noise"]  # fmt: skip
    print(f"\n{result['recipe']}\n{table(header, rows)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["Q4_K_M", "Q3_K_M", "Q2_K", "Q4_0"])
    parser.add_argument("--methods", nargs="+", default=["feedback"])
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--heldout", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--heldout-tokens", type=int, default=2048)
    parser.add_argument("--dir", type=Path, required=True, help="files and logits, kept or not")
    parser.add_argument("--weights-only", action="store_true", help="llama.cpp does not run them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--freehold-python", default=sys.executable)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = options.dir / options.file.stem
    folder.mkdir(parents=True, exist_ok=True)
    source = options.file
    if "bf16" not in source.stem.lower():
        source = folder / f"{options.file.stem}-bf16.gguf"
        if not source.exists():
            with Worker("benchmarks.side_quantizer") as worker:
                worker.ask("floats", {"path": str(options.file), "out": str(source)})
    bench = Bench(source=source, folder=folder, options=options)
    results = []
    for recipe in options.recipes:
        results.append(compare(bench, recipe))
        show(results[-1])
    facts = {"file": options.file.name, "tokens": options.tokens, "recipes": results}
    facts |= {"calibration": options.calibration.name, "heldout": options.heldout.name}
    print(f"\nkept in {write_result('quantize', facts, folder=options.results)}")


if __name__ == "__main__":
    main()
