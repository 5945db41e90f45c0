"""Two processes that share a training come to what one alone comes to.

Tolerance: gradients are summed in another order, float32.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import sys
from pathlib import Path
from freehold.tune.training.train import train_on
from tests.tune.training import toys

base, directory = Path(sys.argv[1]), Path(sys.argv[2])
spec = toys.spec(base, max_steps=6, row_tokens=32)
train_on(toys.lessons(), spec, directory=directory)
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    from tests.tune.training import toys

    toys.write_tiny(tmp_path / "base")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, world in (("alone", 1), ("together", 2)):
        children = []
        for rank in range(world):
            own = {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-c", SCRIPT, str(tmp_path / "base"), str(tmp_path / name)]
            children.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | own))
        assert [child.wait() for child in children] == [0] * world
    one, other = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("alone", "together")
    )
    for name, values in one.items():
        assert np.abs(values - other[name]).max() <= 2e-3 * max(np.abs(values).max(), 1e-3)
