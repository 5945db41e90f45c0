"""Runs pip, so that the user's own index, proxy and certificates apply.

Room: library. Must not know what is fetched, or what for.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from freehold.errors import DiskFull, DownloadFailed

__all__ = ["run_pip"]

_POLL_S = 0.1
_MOST_WORDS = 500
_UNREACHABLE = ("Retrying (", "Failed to establish", "Temporary failure in name resolution")
_QUIET = ("--progress-bar=off", "--no-input", "--no-color", "--disable-pip-version-check")


def run_pip(
    command: str, *arguments: str, what: str, temporary: Path, watch: Callable[[int], None]
) -> None:
    """Runs a command of pip to its end; `watch` hears how many bytes lie in `temporary`.

    `what` is fetched, in the words of an error; pip's own files and its log stay in `temporary`.
    Raises: DownloadFailed with what pip said, DiskFull when the disk ran out on the way.
    """
    if importlib.util.find_spec("pip") is None:
        raise DownloadFailed(
            "pip is not installed in this environment, and downloads go through it",
            value=what,
            expected=f"`{sys.executable} -m pip` to run",
            found="no module named pip",
            hint=f"`{sys.executable} -m ensurepip`",
        )
    log = temporary / "pip.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "pip", command, *_QUIET, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # pip downloads into its temporary directory; here we can watch the file grow.
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONUTF8": "1"},
            # Ctrl-C must reach us alone: we end pip ourselves and then clean up.
            start_new_session=True,
        ) as process,
    ):
        try:
            while process.poll() is None:
                watch(_bytes_under(temporary))
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise _failure(what, process.returncode, log.read_text("utf-8", errors="replace"))


def _bytes_under(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue  # pip moved it between the listing and the look
    return total


def _failure(what: str, status: int, log: str) -> DownloadFailed | DiskFull:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if line.startswith("ERROR")), -1)
    said = " ".join(lines[first:])[:_MOST_WORDS] or "pip printed nothing"
    if "No space left on device" in log:
        return DiskFull(
            f"the disk filled up while downloading {what}",
            value=what,
            expected="room for it",
            found=said,
            hint="free some space, or set FREEHOLD_HOME to a larger disk",
        )
    if any(sign in log for sign in _UNREACHABLE):
        hint = "the package index cannot be reached: check the network, or `pip config list`"
    else:
        hint = "see which index pip uses with `pip config list`"
    return DownloadFailed(
        f"pip could not download {what}",
        value=what,
        expected="wheels that fit, and exit status 0",
        found=f"exit status {status}: {said}",
        hint=hint,
    )
