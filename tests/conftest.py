"""What every test shares: a home of its own, and the starter model where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.errors import FreeholdError
from freehold.library import resolve


def _starter() -> Path | None:
    """The starter model's file: named by the environment, or in the person's own store."""
    named = os.environ.get("FREEHOLD_TEST_STARTER")
    if named:
        return Path(named)
    try:
        return resolve("starter", settings=resolve_settings())
    except FreeholdError:
        return None


# Before any test has moved the home away.
_STARTER = _starter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-weights",
        action="store_true",
        help="fail, instead of skip, when the starter model is absent",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _STARTER is not None or config.getoption("--require-weights"):
        return
    absent = pytest.mark.skip(reason="needs the starter model: freehold pull starter")
    for item in items:
        if item.get_closest_marker("weights"):
            item.add_marker(absent)


@pytest.fixture(scope="session")
def starter_path() -> Path:
    """The starter model's file. Tests that take it carry the marker `weights`."""
    if _STARTER is None:
        pytest.fail("the starter model is absent: freehold pull starter")
    return _STARTER


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, so that no test sees or changes a person's models or settings."""
    folder = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("FREEHOLD_")]:
        # The instruction set is chosen once per process, so a test cannot move it.
        if name != "FREEHOLD_ISA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("FREEHOLD_HOME", str(folder / "freehold"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    return folder / "freehold"
