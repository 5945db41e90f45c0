"""Our side of the embedding comparison, through the public Python face.

Room: benchmarks. Must not use any peer.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import freehold
from benchmarks.workers import serve


class Side:
    """One embedder at a time."""

    def __init__(self) -> None:
        self._model: freehold.EmbeddingModel | None = None

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Replace the model."""
        from freehold import ops

        loaded = freehold.load(
            request["path"], threads=request["threads"], precision=request["precision"]
        )
        assert isinstance(loaded, freehold.EmbeddingModel)
        self._model = loaded
        return {
            "name": "freehold",
            "version": freehold.__version__,
            "isa": ops.isa_name(),
            "precision": loaded.precision,
        }

    def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Seconds from texts to vectors, which go to a file when one is named."""
        assert self._model is not None
        start_s = time.perf_counter()
        vectors = self._model.embed(request["texts"])
        seconds = time.perf_counter() - start_s
        if request.get("out"):
            np.save(request["out"], vectors)
        return {"seconds": seconds}


if __name__ == "__main__":
    side = Side()
    serve({"load": side.load, "embed": side.embed})
