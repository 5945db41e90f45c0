"""The llama.cpp side of every comparison.

Room: benchmarks. Turns requests into calls of the driver; must not use freehold.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import llama_cpp
import numpy as np

from benchmarks.llama_cpp_driver import LlamaCpp
from benchmarks.workers import serve


class Side:
    """One llama.cpp model at a time."""

    def __init__(self) -> None:
        self._model: LlamaCpp | None = None

    @property
    def model(self) -> LlamaCpp:
        """The loaded model."""
        if self._model is None:
            raise RuntimeError("nothing is loaded")
        return self._model

    def describe(self, _request: dict[str, Any]) -> dict[str, Any]:
        """What is being measured."""
        return {
            "name": "llama.cpp",
            "version": f"llama-cpp-python {llama_cpp.__version__}",
            "isa": llama_cpp.llama_print_system_info().decode(),
        }

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Replace the model; mmap and repacking as llama.cpp does by default."""
        if self._model is not None:
            self._model.close()
            self._model = None
            gc.collect()
        start_s = time.perf_counter()
        self._model = LlamaCpp(request["path"], threads=request["threads"])
        return {"seconds": time.perf_counter() - start_s}

    def tokenize(self, request: dict[str, Any]) -> dict[str, Any]:
        """Token ids of a text."""
        return {"ids": self.model.tokenize(request["text"])}

    def prefill(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tokens a second of one prompt."""
        tokens = request["tokens"]
        seconds = self.model.prefill_s(
            tokens, flash=request["flash"], kv_bits=request.get("kv_bits", 16)
        )
        return {"tokens_per_s": tokens / seconds}

    def decode(self, request: dict[str, Any]) -> dict[str, Any]:
        """Tokens a second of single-token steps, summed over the batch."""
        tokens, batch = request["tokens"], request["batch"]
        seconds = self.model.decode_s(
            tokens,
            batch=batch,
            depth=request["depth"],
            flash=request["flash"],
            kv_bits=request.get("kv_bits", 16),
        )
        return {"tokens_per_s": tokens * batch / seconds}

    def logits(self, request: dict[str, Any]) -> dict[str, Any]:
        """Logits of chunks of text, (N, T) ids -> (N, T, V) in a file."""
        ids = np.load(request["ids"])
        shape = (*ids.shape, self.model.vocab_size)
        out = np.lib.format.open_memmap(request["out"], "w+", np.float32, shape)
        for row, chunk in enumerate(ids):
            out[row] = self.model.logits(chunk, flash=request["flash"])
        out.flush()
        return {}


if __name__ == "__main__":
    side = Side()
    serve(
        {
            "describe": side.describe,
            "load": side.load,
            "tokenize": side.tokenize,
            "prefill": side.prefill,
            "decode": side.decode,
            "logits": side.logits,
        }
    )
