"""Where a training computes: device, number type, threads, and the processes that share the work.

Room: tune. Must not know models or data.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

import torch

from freehold.errors import BadTraining
from freehold.tune.training.spec import TrainSpec

__all__ = ["Machine", "available_bytes", "peak_bytes", "row_tokens", "settle"]


@dataclass(frozen=True)
class Machine:
    """What `settle` chose. `rank` of `world` processes, as torchrun started them."""

    device: torch.device
    dtype: torch.dtype
    rank: int = 0
    world: int = 1

    @property
    def label(self) -> str:
        """For people."""
        kind = "CUDA" if self.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        many = f", {self.world} processes" if self.world > 1 else ""
        return f"{kind}, {str(self.dtype).removeprefix('torch.')}{many}"

    def add_up(self, values: torch.Tensor) -> None:
        """The sum over all processes in place. Mutates: values."""
        if self.world > 1:
            torch.distributed.all_reduce(values)

    def any_of(self, wish: bool) -> bool:
        """Whether any process wishes it: all of them stop at one step, or none."""
        if self.world == 1:
            return wish
        wishes = torch.tensor([float(wish)], device=self.device)
        torch.distributed.all_reduce(wishes)
        return bool(wishes.item() > 0)

    def leave(self) -> None:
        """Parts from the other processes."""
        if self.world > 1:
            torch.distributed.destroy_process_group()


def settle(spec: TrainSpec) -> Machine:
    """Device and type for a training; joins the other processes if torchrun started several.

    bfloat16 where the processor multiplies it itself. Raises: BadTraining.
    """
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    has_cuda = torch.cuda.is_available()
    if spec.device == "cuda" and not has_cuda:
        raise BadTraining(
            "there is no CUDA device here", value="cuda", expected="cpu or auto", found="no device"
        )
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if has_cuda and spec.device != "cpu":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Machine(device, _dtype(spec, device), rank, world)


def _dtype(spec: TrainSpec, device: torch.device) -> torch.dtype:
    if spec.precision != "auto":
        return torch.float32 if spec.precision == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _multiplies_bfloat16() else torch.float32


def _multiplies_bfloat16() -> bool:
    """Whether the processor has products of bfloat16: without them they are slower than floats."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8", "replace").split("flags", 1)[-1]
    except OSError:
        return False
    words = set(flags.split("\n", 1)[0].split())
    return bool(words & {"avx512_bf16", "amx_bf16"})


def row_tokens(spec: TrainSpec, device: torch.device) -> int:
    """How many tokens go through the network at once, where nobody says.

    A CPU's products are at their best from a few hundred; a GPU needs many to be busy.
    """
    if spec.row_tokens is not None:
        return spec.row_tokens
    return 8192 if device.type == "cuda" else 1024


def peak_bytes(device: torch.device) -> int:
    """The most memory this process has had, on the GPU where there is one."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def available_bytes() -> int:
    """Memory that can be had without pushing others out."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
