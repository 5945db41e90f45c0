"""`python -m freehold.tune.worker DIRECTORY`: one training in a process of its own.

Room: tune. Reads spec.json of the directory, writes events.jsonl there and the same lines to
stdout, and error.json when it fails, which whoever started it tells of. Must not know who did.
SIGTERM and SIGINT ask it to stop at the next step with a checkpoint; the same command goes on
from there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from freehold.errors import BadTraining, FreeholdError, SetupError

__all__ = ["ERROR", "SPEC", "STOPPED", "main", "missing_packages"]

SPEC, ERROR = "spec.json", "error.json"
STOPPED = 3  # the exit status of a training that was asked to stop and can go on

_MAX_SPEC_BYTES = 1 << 20


class _Stop:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        return self.asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def main(arguments: list[str]) -> int:
    """Runs the training of a directory; returns the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m freehold.tune.worker DIRECTORY\n")
        return 2
    directory = Path(arguments[0])
    stop = _Stop()
    try:
        (directory / ERROR).unlink(missing_ok=True)
        status = _train(directory, stop)
    except FreeholdError as error:
        _tell(directory, error)
        return 1
    except ImportError as error:
        _tell(directory, missing_packages(error))
        return 1
    return STOPPED if status == "stopped" else 0


def _train(directory: Path, stop: _Stop) -> str:
    from freehold.tune.training.spec import read_spec  # noqa: PLC0415 - errors are told of above

    path = directory / SPEC
    try:
        raw = path.read_bytes()[:_MAX_SPEC_BYTES]
    except OSError as error:
        raise BadTraining(
            "there is nothing to train here", value=str(path), expected=SPEC, found=str(error.errno)
        ) from error
    spec = read_spec(raw.decode("utf-8", "replace"))
    from freehold.tune.training.train import train  # noqa: PLC0415 - torch takes seconds

    return train(spec, directory=directory, on_event=_print, should_stop=stop).status


def _print(event: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def missing_packages(error: ImportError) -> SetupError:
    """What to install, when torch is not there."""
    return SetupError(
        "training needs packages that are not installed",
        value=error.name,
        expected="the extra `tune`",
        found=f"no {error.name}",
        hint="pip install 'freehold[tune]'",
    )


def _tell(directory: Path, error: FreeholdError) -> None:
    """Writes the error for whoever waits; says it on stderr when that cannot be."""
    said = {
        "code": error.code,
        "message": error.message,
        "value": None if error.value is None else str(error.value)[:200],
        "expected": error.expected,
        "found": error.found,
        "hint": error.hint,
    }
    temporary = directory / f".{ERROR}.{os.getpid()}.part"
    try:
        temporary.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        temporary.replace(directory / ERROR)
    except OSError as failed:
        temporary.unlink(missing_ok=True)
        sys.stderr.write(f"error[{error.code}]: {error}\n")
        sys.stderr.write(f"the error could not be kept: {failed.strerror}\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
