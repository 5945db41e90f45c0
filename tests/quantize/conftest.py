"""A small model with floats, and a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loading.small import Dims, small

DIMS = Dims(L=2, D=64, H=4, G=2, A=16, F=96, V=300, kind="BF16", context_tokens=512)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A GGUF file of a model with BF16 matrices whose rows no K type suits."""
    return small(DIMS).write(tmp_path / "toy.gguf")


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A text whose bytes are all in the toy's vocabulary."""
    path = tmp_path / "story.txt"
    path.write_text("the quick brown fox jumps over the lazy dog and runs. " * 40)
    return path
