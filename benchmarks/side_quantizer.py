"""llama.cpp's quantizer and importance matrix as a side of their own.

Room: benchmarks. Turns requests into calls; must not use freehold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gguf_copy import write_bf16
from benchmarks.importance import importance_of, quantize
from benchmarks.workers import serve


def floats(request: dict[str, Any]) -> dict[str, Any]:
    """Write a file's dequantised weights as BF16."""
    write_bf16(Path(request["path"]), Path(request["out"]))
    return {}


def importance(request: dict[str, Any]) -> dict[str, Any]:
    """The importance matrix of ids, kept in a file."""
    ids = np.load(request["ids"])
    found, seconds = importance_of(Path(request["path"]), ids, threads=request["threads"])
    np.savez(request["out"], allow_pickle=False, **found)
    return {"matrices": len(found), "seconds": seconds}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """One file, and the seconds that took."""
    kept = dict(np.load(request["importance"])) if request.get("importance") else {}
    seconds = quantize(
        Path(request["path"]),
        Path(request["out"]),
        request["file_type"],
        kept,
        threads=request["threads"],
    )
    return {"seconds": seconds}


if __name__ == "__main__":
    serve({"floats": floats, "importance": importance, "quantize": run})
