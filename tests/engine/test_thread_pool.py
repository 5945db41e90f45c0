"""The one thread pool: several callers at once are right, and a pool at rest costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from freehold import ops
from freehold.engine.runner import Runner
from freehold.errors import ContractBroken
from freehold.loading import load_gguf
from tests.loading.small import Array, Dims, small

pytestmark = pytest.mark.alone

DIMS = Dims(kind="Q4_1", D=64, H=4, G=2, A=16, F=96)
REST_S = 0.5
REST_CPU_S = 0.05

FORKED = """
import os, sys
import numpy as np
from pathlib import Path
from freehold import ops
from freehold.engine.runner import Runner
from freehold.loading import load_gguf
ops.set_threads(2)
runner = Runner(load_gguf(Path(sys.argv[1])).model, tokens=128)
ids = list(range(100))
before = runner.logits(ids)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(runner.logits(ids), before) else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert np.array_equal(runner.logits(ids), before)
sys.exit(code)
"""

# Fresh callers, so that none has room left over from a step with more threads.
RESIZED = """
import threading, time
from freehold import ops
cols = 16384
weight, x = ops.Weight(0, 16, cols), ops.Tensor(64, cols)
norm, out = ops.Tensor(1, cols), ops.Tensor(64, 16)
until = time.monotonic() + 1
def resize():
    while time.monotonic() < until:
        ops.set_threads(1)
        ops.set_threads(64)
def multiply():
    for _ in range(3):
        ops.norm_project(x, norm, 1e-5, 64, [weight], [None], [out])
resizer = threading.Thread(target=resize)
resizer.start()
while time.monotonic() < until:
    caller = threading.Thread(target=multiply)
    caller.start()
    caller.join()
resizer.join()
"""


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = ops.threads()
    ops.set_threads(2)
    yield
    ops.set_threads(before)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(DIMS).write(tmp_path_factory.mktemp("pool") / "small.gguf")


def texts(count: int) -> list[list[int]]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, DIMS.V, 20 + 37 * i).tolist() for i in range(count)]


def test_several_callers_at_once_get_what_each_gets_alone(path: Path) -> None:
    """Each with a runner and a model of its own; their steps interleave on one pool."""
    runners = [Runner(load_gguf(path).model, tokens=512) for _ in range(6)]
    alone = [runner.logits(ids) for runner, ids in zip(runners, texts(6), strict=True)]

    def repeat(index: int) -> list[Array]:
        return [runners[index].logits(texts(6)[index]) for _ in range(5)]

    with ThreadPoolExecutor(6) as callers:
        for expected, got in zip(alone, callers.map(repeat, range(6)), strict=True):
            assert all(np.array_equal(expected, logits) for logits in got)


def test_the_pool_may_change_size_between_steps(path: Path) -> None:
    runner = Runner(load_gguf(path).model, tokens=512)
    ids = texts(4)[3]
    expected = runner.logits(ids)
    for count in (1, 4, 2, 7, 1, 2):
        ops.set_threads(count)
        assert ops.threads() == count
        assert np.array_equal(runner.logits(ids), expected), count


def test_the_pool_may_change_size_during_another_callers_step() -> None:
    """In a process of its own: what goes wrong here goes wrong with a crash."""
    done = subprocess.run([sys.executable, "-c", RESIZED], capture_output=True, timeout=60)
    assert done.returncode == 0


def test_a_bad_thread_count_changes_nothing() -> None:
    for count in (0, -3, 257):
        with pytest.raises(ContractBroken, match="thread count"):
            ops.set_threads(count)
    assert ops.threads() == 2


def test_a_pool_at_rest_burns_no_processor_time(path: Path) -> None:
    runner = Runner(load_gguf(path).model, tokens=128)
    runner.logits(list(range(100)))
    before = time.process_time()
    time.sleep(REST_S)
    assert time.process_time() - before < REST_CPU_S


def test_the_measure_of_rest_notices_a_busy_thread() -> None:
    """A worker that spun would spend about as much processor time as the wait takes."""
    with ThreadPoolExecutor(1) as busy:
        before, until = time.process_time(), time.monotonic() + REST_S
        busy.submit(lambda: [None for _ in iter(lambda: time.monotonic() < until, False)])
        time.sleep(REST_S)
        assert time.process_time() - before > REST_CPU_S


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_can_run_steps_too(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_bandwidth_is_a_rate_of_this_world() -> None:
    assert 1e8 < ops.measure_bandwidth_bytes_per_s() < 1e13
