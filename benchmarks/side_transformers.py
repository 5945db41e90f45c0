"""transformers: the float32 oracle, and a row of the speed tables.

Room: benchmarks. Turns requests into calls of the oracle; must not use freehold.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.oracle import load_oracle, oracle_logits
from benchmarks.workers import serve


class Side:
    """One transformers model at a time."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._model: Any = None

    def describe(self, _request: dict[str, Any]) -> dict[str, Any]:
        """What is being measured."""
        version = f"transformers {transformers.__version__}, torch {torch.__version__}"
        return {
            "name": "transformers",
            "version": version,
            "isa": torch.backends.cpu.get_cpu_capability(),
        }

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Replace the model, in float32 or bfloat16."""
        torch.set_num_threads(request["threads"])
        self._model = None
        start_s = time.perf_counter()
        self._path = Path(request["path"])
        self._model = load_oracle(self._path).to(getattr(torch, request.get("dtype", "float32")))
        return {"seconds": time.perf_counter() - start_s}

    @torch.inference_mode()
    def prefill(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tokens a second of one prompt, logits of its last token only."""
        ids = torch.arange(7, 7 + request["tokens"])[None]
        start_s = time.perf_counter()
        self._model(input_ids=ids, use_cache=True, logits_to_keep=1)
        return {"tokens_per_s": request["tokens"] / (time.perf_counter() - start_s)}

    @torch.inference_mode()
    def decode(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tokens a second of single-token steps, summed over the batch."""
        batch, tokens = request["batch"], request["tokens"]
        depth = max(1, request["depth"])
        prompt = torch.arange(7, 7 + depth)[None].repeat(batch, 1)
        cache = self._model(input_ids=prompt, use_cache=True, logits_to_keep=1).past_key_values
        step = torch.full((batch, 1), 11)
        start_s = time.perf_counter()
        for _ in range(tokens):
            cache = self._model(
                input_ids=step, past_key_values=cache, use_cache=True
            ).past_key_values
        return {"tokens_per_s": tokens * batch / (time.perf_counter() - start_s)}

    def logits(self, request: dict[str, Any]) -> dict[str, Any]:
        """Logits of chunks of text in a file; how far eager attention is from sdpa."""
        ids = np.load(request["ids"])
        first = oracle_logits(self._model, ids[0])
        out = np.lib.format.open_memmap(
            request["out"], "w+", np.float32, (*ids.shape, first.shape[1])
        )
        out[0] = first
        for row in range(1, len(ids)):
            out[row] = oracle_logits(self._model, ids[row])
        out.flush()
        assert self._path is not None
        eager = oracle_logits(load_oracle(self._path, attention="eager"), ids[0])
        return {"eager_max_difference": float(np.abs(eager - first).max())}


if __name__ == "__main__":
    side = Side()
    serve(
        {
            "describe": side.describe,
            "load": side.load,
            "prefill": side.prefill,
            "decode": side.decode,
            "logits": side.logits,
        }
    )
