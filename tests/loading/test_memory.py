"""What loading leaves behind: nothing of the file, and nothing of a model that was dropped.

Measured from outside, in a process of its own: /proc/self/statm and smaps of Linux.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loading.small import Dims, small

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc"),
]

# About 48 MB of weights: beside it, what Python itself takes and gives back is noise.
LARGE = Dims(kind="Q8_0", L=3, D=1024, H=8, G=4, A=128, F=4096, V=300)
NOISE_BYTES = 8 << 20

SCRIPT = """
import gc, json, os, sys
from pathlib import Path
from freehold.engine.runner import Runner
from freehold.loading import load_gguf

path = Path(sys.argv[1])

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def mapped():
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            ours = line.endswith(path.name)
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total

def use():
    model = load_gguf(path).model
    Runner(model, tokens=64).logits([1, 2, 3])
    return model

found = {"before": resident()}
model = use()
found["loaded"], found["mapped"] = resident(), mapped()
del model
found["dropped"] = resident()
for _ in range(3):
    use()
found["again"] = resident()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    path = small(LARGE).write(tmp_path_factory.mktemp("large") / "large.gguf")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=True
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found | {"file": path.stat().st_size}


def test_a_loaded_model_takes_the_size_of_its_file(measured: dict[str, int]) -> None:
    taken = measured["loaded"] - measured["before"]
    assert 0.9 * measured["file"] < taken < 1.05 * measured["file"] + NOISE_BYTES


def test_the_file_is_not_kept_in_memory(measured: dict[str, int]) -> None:
    assert measured["mapped"] == 0


def test_a_dropped_model_gives_its_memory_back(measured: dict[str, int]) -> None:
    assert measured["dropped"] - measured["before"] < NOISE_BYTES


def test_loading_again_and_again_takes_nothing_more(measured: dict[str, int]) -> None:
    assert measured["again"] - measured["before"] < NOISE_BYTES
