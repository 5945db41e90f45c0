"""Our side of every comparison, through the public Python face.

Room: benchmarks. Turns requests into calls of freehold; must not use any peer.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np

import freehold
from benchmarks.workers import serve
from freehold.engine.measure import measure


class Side:
    """One freehold model at a time."""

    def __init__(self) -> None:
        self._model: freehold.Model | None = None

    @property
    def model(self) -> freehold.Model:
        """The loaded model."""
        if self._model is None:
            raise RuntimeError("nothing is loaded")
        return self._model

    def describe(self, _request: dict[str, Any]) -> dict[str, Any]:
        """What is being measured."""
        from freehold import ops

        return {"name": "freehold", "version": freehold.__version__, "isa": ops.isa_name()}

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Replace the model."""
        self._model = None
        gc.collect()
        start_s = time.perf_counter()
        self._model = freehold.load(
            request["path"],
            threads=request["threads"],
            context_tokens=request.get("context_tokens"),
            kv_bits=request.get("kv_bits", 16),
        )
        return {"seconds": time.perf_counter() - start_s}

    def prefill(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tokens a second of one prompt."""
        return self._measure(prompt=request["tokens"], generate=0, batch=1, depth=0)

    def decode(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tokens a second of single-token steps, summed over the batch."""
        return self._measure(
            prompt=0, generate=request["tokens"], batch=request["batch"], depth=request["depth"]
        )

    def _measure(self, *, prompt: int, generate: int, batch: int, depth: int) -> dict[str, Any]:
        (result,) = measure(
            self.model, prompt=prompt, generate=generate, batch=batch, depth=depth, repeats=1
        )
        return {"tokens_per_s": result.tokens_per_s}

    def logits(self, request: dict[str, Any]) -> dict[str, Any]:
        """Logits of chunks of text, (N, T) ids -> (N, T, V) in a file."""
        ids = np.load(request["ids"])
        first = self.model.logits(ids[0].tolist())
        out = np.lib.format.open_memmap(
            request["out"], "w+", np.float32, (*ids.shape, first.shape[1])
        )
        out[0] = first
        for row in range(1, len(ids)):
            out[row] = self.model.logits(ids[row].tolist())
        out.flush()
        return {}


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
