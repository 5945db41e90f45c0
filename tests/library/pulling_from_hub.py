"""A pull from the tests' own hub through the real huggingface_hub, and what it left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.config import Settings, resolve_settings
from freehold.library import HubPulled, HubReference, held_models, pull_from_hub
from freehold.library.shelf import staging_dir
from tests.library import hub_server
from tests.library.hub_server import Hub, Repository
from tests.library.small_models import gguf_bytes

Q4 = gguf_bytes(3)
Q8 = gguf_bytes(5)
FILE = "tiny-Q4_K_M.gguf"


def tiny() -> Repository:
    return Repository(
        {
            FILE: Q4,
            "tiny-Q8_0.gguf": Q8,
            "mmproj-tiny-Q4_K_M.gguf": b"not a model",
            "README.md": b"# Tiny",
            "convert.py": b"import os",
        }
    )


@pytest.fixture
def hub(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.running(tiny()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
        monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama.cpp"))
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("freehold.library.hub_fetch.WAIT_S", 0.0)
        # A database for each test would cost more than the test; one below writes for real.
        monkeypatch.setattr("freehold.library.hub_pull.write_down", lambda held, **_: None)
        yield hub


def pull(text: str = "acme/tiny", **more: Any) -> HubPulled:
    more.setdefault("progress", lambda phase, done, total: None)
    return pull_from_hub(HubReference.parse(text), settings=resolve_settings(), **more)


def settings() -> Settings:
    return resolve_settings()


def nothing_published() -> bool:
    return held_models(settings().models_dir) == ()


def partials() -> list[Path]:
    return sorted(staging_dir(settings().models_dir).glob("*/partial/*"))
