"""Every instruction set of this machine in turn, and the thread count put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from freehold import ops


@pytest.fixture(params=ops.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """The active instruction set for one test."""
    before = ops.isa_name()
    ops.force_isa(request.param)
    yield request.param
    ops.force_isa(before)


@pytest.fixture(params=[1, 2], ids=["1-thread", "2-threads"])
def thread_count(request: pytest.FixtureRequest) -> Iterator[int]:
    """The thread count for one test."""
    before = ops.threads()
    ops.set_threads(request.param)
    yield request.param
    ops.set_threads(before)
