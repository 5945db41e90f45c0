"""Which instruction set runs: chosen once, forced by name, and never silently another."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from freehold import ops
from freehold.errors import UnsupportedIsa

REPORT = "from freehold import ops; print(ops.isa_name())"
MULTIPLY = """
import numpy as np
from freehold import ops
from freehold.errors import UnsupportedIsa
weight, x, out = ops.Weight(0, 1, 1), ops.Tensor(1, 1), ops.Tensor(1, 1)
for _ in range(2):
    try:
        ops.norm_project(x, None, 1e-5, 1, [weight], [None], [out])
    except UnsupportedIsa as error:
        print(error)
"""


def run(script: str, isa: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "FREEHOLD_ISA"}
    if isa is not None:
        environment["FREEHOLD_ISA"] = isa
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )


@pytest.mark.parametrize("isa", ops.available_isas())
def test_the_environment_forces_an_instruction_set(isa: str) -> None:
    done = run(REPORT, isa)
    assert (done.returncode, done.stdout.split()) == (0, [isa]), done.stderr


@pytest.mark.parametrize("isa", [None, ""])
def test_the_best_one_is_the_default(isa: str | None) -> None:
    assert run(REPORT, isa).stdout.split() == [ops.available_isas()[-1]]


def test_an_unknown_instruction_set_in_the_environment_is_a_clear_error() -> None:
    done = run(REPORT, "bogus")
    assert done.returncode != 0
    assert "UnsupportedIsa: isa: FREEHOLD_ISA=bogus is unknown" in done.stderr


def test_an_op_refuses_to_run_on_another_set_than_was_asked_for() -> None:
    """Each time, not only the first."""
    done = run(MULTIPLY, "bogus")
    assert done.stdout.count("FREEHOLD_ISA=bogus") == 2, done.stderr


@pytest.mark.parametrize("name", ["bogus", "", "AVX2", "avx", "neon"])
def test_an_unknown_instruction_set_is_refused_and_the_active_one_stays(name: str) -> None:
    before = ops.isa_name()
    with pytest.raises(UnsupportedIsa) as caught:
        ops.force_isa(name)
    assert caught.value.code == "kernel.unsupported_isa"
    assert name in caught.value.message
    assert ops.isa_name() == before


def test_the_generic_set_is_everywhere() -> None:
    assert ops.available_isas()[0] == "generic"


def test_force_isa_reports_itself(isa: str) -> None:
    assert ops.isa_name() == isa
