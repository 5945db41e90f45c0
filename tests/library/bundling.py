"""A store of two models, and bundles of it, for what is then done to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold.config import Settings, resolve_settings
from freehold.library import held_models
from freehold.library.bundle_read import Unbundled, import_bundle
from freehold.library.bundle_write import Bundled, make_bundle
from freehold.library.importing import import_model
from freehold.library.shelf import staging_dir
from freehold.library.signing import PublicKey, make_key
from tests.library.small_models import directory_files, gguf_bytes

MODEL = gguf_bytes(3)


def quiet(phase: str, done: int, total: int) -> None:
    del phase, done, total


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of two models, a key, and bundles of both forms signed by it."""
    folder = tmp_path_factory.mktemp("made")
    settings = resolve_settings({"home": folder / "home"})
    (folder / "tiny.gguf").write_bytes(MODEL)
    (folder / "toy").mkdir()
    for name, content in directory_files().items():
        if "/" not in name:
            (folder / "toy" / name).write_bytes(content)
    for source in ("tiny.gguf", "toy"):
        import_model(str(folder / source), settings=settings, progress=quiet)
    make_key(folder / "key")
    for out in ("bundle.tar", "bundle"):
        bundle(folder, out, key_file=folder / "key")
    return folder


def bundle(folder: Path, out: str, **more: Any) -> Bundled:
    more = {"refs": ["tiny", "toy"], "key_file": None} | more
    settings = resolve_settings({"home": folder / "home"})
    return make_bundle(more.pop("refs"), folder / out, settings=settings, progress=quiet, **more)


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("freehold.library.bundle_read.write_down", lambda held, **_: None)
    return resolve_settings()


def take_in(path: Path, settings: Settings, trust: PublicKey | None = None) -> Unbundled:
    return import_bundle(path, settings=settings, trust=trust, progress=quiet)


def nothing_taken(settings: Settings) -> bool:
    staged = [path for path in staging_dir(settings.models_dir).glob("*") if path.is_dir()]
    return held_models(settings.models_dir) == () and staged == []
