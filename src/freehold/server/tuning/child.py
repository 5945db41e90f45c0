"""The process that trains: started, asked to stop, ended; never two in one folder.

Room: server. Knows processes; must not know what is trained.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from freehold.server.standing import process_birth

__all__ = ["Child"]

_NOTE = "worker.json"
_STOP_S = 30.0  # for a step to end and its checkpoint to be written
_NICENESS = 10  # answers come first


class Child:
    """A worker in a folder."""

    def __init__(self, directory: Path, module: str) -> None:
        self._directory = directory
        self._module = module
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begin, or go on from the folder's checkpoint. Ends what an earlier server left there."""
        await self._end_earlier()
        log = await asyncio.to_thread((self._directory / "worker.log").open, "wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                str(self._directory),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
                # A signal for the server's group is not one for the training.
                start_new_session=True,
            )
        pid = self._process.pid
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, _NICENESS)
        note = json.dumps({"pid": pid, "birth": process_birth(pid)})
        (self._directory / _NOTE).write_text(note, "utf-8")

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return None if self._process is None else self._process.returncode

    async def stop(self) -> None:
        """Ask for a checkpoint and the end; after a while, end it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """End it now; the last checkpoint stays."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _end_earlier(self) -> None:
        """A worker whose server was killed still runs: what it has not kept is done again."""
        try:
            note = json.loads((self._directory / _NOTE).read_text("utf-8"))
            pid, birth = int(note["pid"]), note["birth"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        if birth is None or process_birth(pid) != birth:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while process_birth(pid) == birth:
            await asyncio.sleep(0.02)
