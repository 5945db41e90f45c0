"""The soak in twenty seconds: a small crowd, two dead engines, an end in good order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import SHORT, soak

pytestmark = [pytest.mark.alone, pytest.mark.weights]


def test_a_crowd_and_two_dead_engines_leave_nothing_behind(
    starter_path: Path, tmp_path: Path
) -> None:
    soak(SHORT, starter_path, tmp_path)
