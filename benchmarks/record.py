"""What was measured, where and on which commit: the JSON that every benchmark leaves behind.

Room: benchmarks. Must not know what any benchmark measures.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from benchmarks.workers import ROOT

RESULTS = ROOT / "benchmarks" / "results"
_ISA_FLAGS = (
    "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "amx_int8", "amx_bf16", "asimddp", "i8mm", "sve",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Processor, cores, instruction sets and memory of this machine."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = dict(
        (part.strip() for part in line.split(":", 1)) for line in cpu.splitlines() if ":" in line
    )
    flags = set(lines.get("flags", lines.get("Features", "")).split())
    return {
        "cpu": lines.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "isa": [flag for flag in _ISA_FLAGS if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
    }


def commit() -> dict[str, Any]:
    """The commit, and whether code differs from it."""
    head = _git("rev-parse", "HEAD")
    return {"commit": head, "dirty": bool(_git("status", "--porcelain", "--", "src", "core"))}


def versions() -> dict[str, str]:
    """The peers and oracles installed beside this script."""
    names = ("llama_cpp_python", "gguf", "transformers", "torch", "onnxruntime", "numpy")
    found = {each.metadata["Name"].replace("-", "_"): each.version for each in distributions()}
    return {name: found[name] for name in names if name in found}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write_result(name: str, result: dict[str, Any], *, folder: Path) -> Path:
    """Keep a result with its machine and commit in `folder`; returns the file's path."""
    now = datetime.datetime.now(datetime.UTC)
    record = {
        "benchmark": name,
        "time": now.isoformat(timespec="seconds"),
        **commit(),
        "machine": machine(),
        "versions": versions(),
        **result,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return path


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns aligned for a terminal; the first to the left, the rest to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        first, *rest = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
