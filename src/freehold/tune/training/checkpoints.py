"""A training's state on disk: whole, or not there.

Room: tune. Knows tensors by name; must not know models. A checkpoint is a folder that is written
under a temporary name, synced and renamed; its state.json has the digests of its files.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from freehold.errors import BadCheckpoint, DiskFull
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import open_safetensors
from freehold.formats.safetensors_writer import write_safetensors
from freehold.tune.room import in_room
from freehold.tune.training.optimizer import Optimizer

__all__ = ["Checkpoint", "Pace", "at", "latest", "load_into", "publish", "save"]

_TRAINED, _MOMENTS, _STATE = "trained.safetensors", "optimizer.safetensors", "state.json"
_KEEP = 2
_SHARE = 20  # a crash costs this part of the steps, and checkpoints this part of the time
_LONGEST_S = 60.0  # that a crash costs of a long training


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk and what its state.json says."""

    path: Path
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        """How many steps were done."""
        return int(self.state["step"])


@dataclass
class Pace:
    """The last checkpoint, or the beginning: its step, when it was whole, and what it took."""

    step: int = 0
    ended_s: float = field(default_factory=time.monotonic)
    took_s: float = 0.0

    def is_due(self, step: int, *, steps: int, now_s: float) -> bool:
        """Whether a crash after this step of so many would cost more than another checkpoint."""
        since_s = now_s - self.ended_s
        if since_s < self.took_s * _SHARE:
            return False
        return step - self.step >= math.ceil(steps / _SHARE) or since_s >= _LONGEST_S


def publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Makes a folder whole: `fill(temporary)` writes its files, which are synced and renamed.

    Replaces a folder of that name. Mutates: the disk. Raises: DiskFull, OSError.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with in_room(folder.parent):
            temporary.mkdir(parents=True)
            fill(temporary)
            for file in temporary.iterdir():
                _sync(file)
            _sync(temporary)
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old)
        else:
            temporary.rename(folder)
        _sync(folder.parent)
    except (OSError, DiskFull):
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def save(
    directory: Path, optimizer: Optimizer, state: Mapping[str, Any], *, keep: int | None = None
) -> Checkpoint:
    """Writes a checkpoint of `state["step"]`, then drops older ones but `keep`'s step.

    Raises: DiskFull, OSError.
    """
    folder = directory / f"step-{state['step']:08d}"
    said = dict(state)

    def fill(temporary: Path) -> None:
        write_safetensors(
            temporary / _TRAINED,
            {name: _array(each.detach()) for name, each in optimizer.parameters.items()},
        )
        write_safetensors(
            temporary / _MOMENTS,
            {
                "first": _array(optimizer.first),
                "second": _array(optimizer.second),
                "random": _array(torch.get_rng_state()),
                **_device_random(optimizer),
            },
        )
        said["taken"] = optimizer.taken
        said["sha256"] = {name: _digest(temporary / name) for name in (_TRAINED, _MOMENTS)}
        (temporary / _STATE).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")

    publish(folder, fill)
    for old in _folders(directory)[:-_KEEP]:
        if _step_of(old) != keep:
            shutil.rmtree(old)
    return Checkpoint(folder, said)


def latest(directory: Path) -> Checkpoint | None:
    """The newest checkpoint; leftovers of a crash are removed. Raises: BadCheckpoint."""
    if not directory.exists():
        return None
    for left in (*directory.glob(".*.part"), *directory.glob(".*.old")):
        shutil.rmtree(left, ignore_errors=True)
    folders = _folders(directory)
    return at(folders[-1]) if folders else None


def at(folder: Path) -> Checkpoint:
    """A checkpoint whose files are what its state.json says. Raises: BadCheckpoint."""
    try:
        state = read_json_object(folder / _STATE)
        digests = state["sha256"]
        damaged = [name for name in (_TRAINED, _MOMENTS) if _digest(folder / name) != digests[name]]
    except (OSError, KeyError, TypeError) as error:
        raise _bad(folder, type(error).__name__) from error
    if damaged:
        raise _bad(folder, f"{damaged[0]} was altered")
    return Checkpoint(folder, state)


def load_into(optimizer: Optimizer, checkpoint: Checkpoint, *, moments: bool = True) -> None:
    """Puts a checkpoint's values in their places. Mutates: optimizer, torch's random state.

    Raises: BadCheckpoint, FormatError.
    """
    with open_safetensors(checkpoint.path / _TRAINED) as file:
        if set(file.tensors) != set(optimizer.parameters):
            raise _bad(checkpoint.path, "other parameters")
        for name, each in optimizer.parameters.items():
            if tuple(file.tensors[name].shape) != tuple(each.shape):
                raise _bad(checkpoint.path, f"another shape of {name}")
            values = np.array(file.tensors[name].data()).view(np.float32)
            each.data.copy_(torch.from_numpy(values.reshape(each.shape)))
    if not moments:
        return
    with open_safetensors(checkpoint.path / _MOMENTS) as file:
        for name, into in (("first", optimizer.first), ("second", optimizer.second)):
            into.copy_(torch.from_numpy(np.array(file.tensors[name].data()).view(np.float32)))
        torch.set_rng_state(torch.from_numpy(np.array(file.tensors["random"].data())))
        if optimizer.values.is_cuda and "device_random" in file.tensors:
            torch.cuda.set_rng_state(
                torch.from_numpy(np.array(file.tensors["device_random"].data()))
            )
    optimizer.taken = int(checkpoint.state["taken"])


def _device_random(optimizer: Optimizer) -> dict[str, np.ndarray[Any, Any]]:
    """The random state of the GPU that dropout draws from there."""
    cuda = optimizer.values.is_cuda
    return {"device_random": _array(torch.cuda.get_rng_state())} if cuda else {}


def _array(values: torch.Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(values.cpu().numpy())


def _folders(directory: Path) -> list[Path]:
    return sorted(each for each in directory.glob("step-*") if each.is_dir())


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bad(folder: Path, found: str) -> BadCheckpoint:
    return BadCheckpoint(
        "the checkpoint cannot be gone on from",
        value=str(folder),
        expected="the files that its state.json names",
        found=found,
        hint="remove this folder to go on from the one before it",
    )
