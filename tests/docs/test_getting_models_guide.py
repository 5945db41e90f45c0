"""What docs/getting-models.md tells a reader to do, works, one command after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from freehold.library.names import DEFAULT_QUANT
from freehold.library.nearby import llama_cpp_cache, ollama_store
from tests.cli.conftest import Run, freehold
from tests.library.small_models import gguf_bytes

__all__ = ["freehold"]

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "getting-models.md").read_text("utf-8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("$ freehold ")]


def test_the_commands_of_the_guide_work_one_after_the_other(
    freehold: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").write_bytes(gguf_bytes())
    assert len(commands()) >= 9
    for words in commands():
        ran = freehold(*words)
        assert ran.status == 0, (words, ran.err)
    assert '"mine"' in ran.out


def test_the_guide_names_the_default_and_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"it is {DEFAULT_QUANT}, else" in GUIDE
    for variable, place in (("OLLAMA_MODELS", ollama_store), ("LLAMA_CACHE", llama_cpp_cache)):
        assert f"`{variable}`" in GUIDE
        monkeypatch.setenv(variable, "/nowhere")
        assert place() == Path("/nowhere")
