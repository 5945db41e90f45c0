"""`freehold inspect` shows what a model is, and says so of files that lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.loading.small import small


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small().write(tmp_path / "model.gguf")


def test_text_has_every_section(freehold: Run, model: Path) -> None:
    ran = freehold("inspect", str(model))
    assert ran.status == 0
    for title in ("Safety", "Parts", "Types", "Memory", "Tokenizer", "Values"):
        assert f"\n{title}\n" in ran.out
    assert "layer 0-1 x 2" in ran.out


def test_json_is_one_object_with_every_tensor(freehold: Run, model: Path) -> None:
    report = json.loads(freehold("inspect", str(model), "--json").out)
    assert report["architecture"] == "llama"
    assert len(report["tensors"]) == 20
    assert report["identity"]["digest"].startswith("sha256:")
    assert all(tensor["stats"]["std"] > 0 for tensor in report["tensors"])


def test_one_tensor(freehold: Run, model: Path) -> None:
    ran = freehold("inspect", str(model), "--tensor", "blk.0.attn_q.weight")
    assert "256 x 256, F32" in ran.out
    assert "excess kurtosis" in ran.out
    ran = freehold("inspect", str(model), "--tensor", "blk.0.attn_qq.weight")
    assert ran.status == 2
    assert "blk.0.attn_q.weight" in ran.err


def test_an_unsound_file_is_status_1_and_says_why(freehold: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + bytes(3))
    ran = freehold("inspect", str(path))
    assert ran.status == 1
    assert "danger" in ran.out


def test_what_a_file_says_cannot_drive_the_terminal(freehold: Run, tmp_path: Path) -> None:
    checkpoint = small()
    checkpoint.keys["general.name"] = "x\x1b[2Jy\u202ez"
    out = freehold("inspect", str(checkpoint.write(tmp_path / "m.gguf"))).out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\u202e" in out
