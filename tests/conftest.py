"""What every test shares: a home of its own, and the starter model where there is one."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.errors import FreeholdError
from freehold.library import resolve
from tests.server.live import live_server

__all__ = ["live_server"]


def _model(name: str, variable: str) -> Path | None:
    """A model of the catalogue: named by the environment, or in the person's own store."""
    named = os.environ.get(variable)
    if named:
        return Path(named)
    try:
        return resolve(name, settings=resolve_settings())
    except FreeholdError:
        return None


# Before any test has moved the home away.
_STARTER = _model("starter", "FREEHOLD_TEST_STARTER")
_EMBEDDER = _model("starter-embedder", "FREEHOLD_TEST_EMBEDDER")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-weights",
        action="store_true",
        help="fail, instead of skip, when the starter models are absent",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What collecting made stays to the end, so no collector of garbage needs to go through it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        # As rarely as with all of that in the way: a full pass for each million new objects.
        gc.set_threshold(700, 10, 150)
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--require-weights"):
        return
    for item in items:
        embeds = "embedder_path" in getattr(item, "fixturenames", ())
        name, path = ("starter-embedder", _EMBEDDER) if embeds else ("starter", _STARTER)
        if item.get_closest_marker("weights") and path is None:
            item.add_marker(pytest.mark.skip(reason=f"needs a model: freehold pull {name}"))


@pytest.fixture(scope="session")
def starter_path() -> Path:
    """The starter model's file. Tests that take it carry the marker `weights`."""
    if _STARTER is None:
        pytest.fail("the starter model is absent: freehold pull starter")
    return _STARTER


@pytest.fixture(scope="session")
def embedder_path() -> Path:
    """The starter embedder's directory. Tests that take it carry the marker `weights`."""
    if _EMBEDDER is None:
        pytest.fail("the starter embedder is absent: freehold pull starter-embedder")
    return _EMBEDDER


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One unused folder after the other: `mktemp` would look through all earlier ones each time."""
    base = tmp_path_factory.mktemp("homes")
    return (base / str(number) for number in count())


@pytest.fixture(autouse=True)
def home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, so that no test sees or changes a person's models or settings."""
    folder = next(homes)
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("FREEHOLD_")]:
        # The instruction set is chosen once per process, so a test cannot move it.
        if name != "FREEHOLD_ISA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("FREEHOLD_HOME", str(folder / "freehold"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    return folder / "freehold"
