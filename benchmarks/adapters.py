"""Sixteen adapters at once beside the base model alone: `python -m benchmarks.adapters MODEL`.

Room: benchmarks. One process, the same weights: steps of the base and steps in which every sequence
uses one of the adapters take turns, so that both meet the same machine. Adapters are random; what
they hold changes no speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.record import RESULTS, table, write_result
from freehold import ops
from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.loading import Loaded, load_adapter, load_model
from freehold.models.decoder import Decoder

_MODULES = {
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.out": "self_attn.o_proj",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
_PROMPT = 64


def write_adapter(model: Decoder, path: Path, *, rank: int, seed: int) -> Path:
    """A random adapter of every matrix of every layer, as PEFT saves it."""
    rng = np.random.default_rng(seed)
    slots = model.slots(model.config)
    tensors = {}
    for canonical in model.adapter_targets():
        _, layer, name = canonical.split(".", 2)
        rows, cols = slots[canonical].shape
        module = f"base_model.model.model.layers.{layer}.{_MODULES[name]}"
        tensors[module + ".lora_A.weight"] = rng.standard_normal((rank, cols), np.float32) / 50
        tensors[module + ".lora_B.weight"] = rng.standard_normal((rows, rank), np.float32) / 100
    path.mkdir()
    save_file(tensors, path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank}
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


class Batch:
    """Sequences that each have a prompt in the cache; a step gives each a token more."""

    def __init__(self, runner: Runner, adapters: list[int]) -> None:
        self.runner, self.adapters = runner, adapters
        self.sequences = [Sequence() for _ in adapters]
        for sequence, adapter in zip(self.sequences, adapters, strict=True):
            for _ in runner.prefill(sequence, _tokens(runner, _PROMPT), adapter):
                pass

    def step(self) -> float:
        """Seconds of one step; the cache is as before afterwards."""
        token = _tokens(self.runner, _PROMPT)[0]
        parts = [
            Part(sequence, [token], adapter=adapter)
            for sequence, adapter in zip(self.sequences, self.adapters, strict=True)
        ]
        start = time.perf_counter()
        self.runner.run(parts)
        seconds = time.perf_counter() - start
        for sequence in self.sequences:
            sequence.length = _PROMPT
        return seconds


def compared(loaded: Loaded, *, batch: int, adapters: int, steps: int) -> dict[str, Any]:
    """Medians of steps that take turns; `switch` changes every sequence's adapter at each step."""
    runner = Runner(loaded.model, tokens=3 * batch * (_PROMPT + ops.PAGE_TOKENS))
    plain = Batch(runner, [-1] * batch)
    mixed = Batch(runner, [i % adapters for i in range(batch)])
    times: dict[str, list[float]] = {"base": [], "adapters": [], "switching": []}
    for round_ in range(steps + 3):
        took = {"base": plain.step(), "adapters": mixed.step()}
        kept = mixed.adapters
        mixed.adapters = [(i + 1 + round_) % adapters for i in range(batch)]
        took["switching"] = mixed.step()
        mixed.adapters = kept
        if round_ >= 3:  # the first warm up
            for name, seconds in took.items():
                times[name].append(seconds)
    rates = {name: batch / statistics.median(row) for name, row in times.items()}
    return {
        "batch": batch,
        "tokens_per_s": rates,
        "ratio": rates["adapters"] / rates["base"],
        "ratio_switching": rates["switching"] / rates["base"],
    }


def measured(loaded: Loaded, options: argparse.Namespace, *, bits: int) -> dict[str, Any]:
    """Loads the adapters with so many bits, and compares."""
    assert isinstance(loaded.model, Decoder), "a decoder is needed"
    attached, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(options.adapters):
            path = Path(folder) / str(index)
            write_adapter(loaded.model, path, rank=options.rank, seed=index)
            start = time.perf_counter()
            adapter = load_adapter(path, loaded, bits=bits)
            adapter.attach(index)
            seconds.append(time.perf_counter() - start)
            attached.append(adapter)
    cases = [
        compared(loaded, batch=batch, adapters=options.adapters, steps=options.steps)
        for batch in options.batch
    ]
    for index, adapter in enumerate(attached):
        adapter.detach(index)
    return {
        "bits": bits,
        "adapter_bytes": attached[0].bytes,
        "load_s": statistics.median(seconds),
        "cases": cases,
    }


def _tokens(runner: Runner, count: int) -> list[int]:
    return [(i * 7919 + 17) % runner.model.vocabulary for i in range(count)]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every measurement of adapters is told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", type=Path, help="a decoder's GGUF file or directory")
    parser.add_argument("--adapters", type=int, default=16)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, nargs="*", default=[16, 32])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 16])
    options = parser.parse_args()
    ops.set_threads(options.threads)
    loaded = load_model(options.model)
    runs = [measured(loaded, options, bits=bits) for bits in options.bits]
    rows = [
        [
            f"{run['bits']} bits, batch {case['batch']}",
            *(f"{case['tokens_per_s'][name]:.0f}" for name in ("base", "adapters", "switching")),
            f"{case['ratio']:.3f}",
            f"{case['ratio_switching']:.3f}",
            f"{run['adapter_bytes'] / 1e6:.1f}",
            f"{run['load_s'] * 1e3:.0f}",
        ]
        for run in runs
        for case in run["cases"]
    ]
    header = ["tokens/s", "base", "adapters", "switching", "ratio", "ratio", "MB each", "load ms"]
    print(table(header, rows))
    asked = {"adapters": options.adapters, "rank": options.rank, "targets": sorted(_MODULES)}
    facts = {"model": options.model.name, "isa": ops.isa_name(), "threads": options.threads}
    print(write_result("adapters", {**facts, **asked, "runs": runs}, folder=options.results))


if __name__ == "__main__":
    main()
