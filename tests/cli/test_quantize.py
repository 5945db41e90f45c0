"""`freehold quantize`: the file, the table, the record, and what is refused."""

from __future__ import annotations

import importlib
import json
import os
import signal
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.formats.gguf import open_gguf
from freehold.library.identity import identity_of
from freehold.library.record import open_record
from freehold.quantize.source import Source
from tests.cli.conftest import Run
from tests.loading.small import Dims, small

DIMS = Dims(L=2, D=64, H=4, G=2, A=16, F=96, V=300, kind="BF16", context_tokens=512)
FEW = ("--tokens", "200", "--heldout-tokens", "64")


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    file = small(DIMS)
    file.keys["general.license"] = "apache-2.0"
    file.keys["general.name"] = "Toy"
    return file.write(tmp_path / "toy-BF16.gguf")


def test_the_loss_is_shown_and_the_file_named(
    freehold: Run, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = freehold("quantize", str(toy), "q4_0", *FEW)
    assert ran.status == 0, ran.err
    assert "mean KL" in ran.out
    assert "same next token" in ran.out
    assert "built-in text" in ran.err
    assert "1 x Q8_0 for Q6_K" in ran.err
    assert (tmp_path / "toy-Q4_0.gguf").is_file()


def test_the_record_has_recipe_loss_and_parent(freehold: Run, toy: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    ran = freehold("quantize", str(toy), "Q4_0", "--output", str(target), "--json", *FEW)
    said = json.loads(ran.out)
    with open_record(resolve_settings()) as events:
        (event,) = events.about(identity_of(target).digest)
    assert event.kind == "quantized"
    assert list(event.parents) == [identity_of(toy).digest]
    assert event.body["loss"]["mean_kl"] == said["loss"]["mean_kl"]
    assert event.body["recipe"]["type"] == "Q4_0"
    assert event.body["calibration"]["tokens"] == said["calibration"]["tokens"]


def test_terms_and_ancestry_go_with_the_file(freehold: Run, toy: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    freehold("quantize", str(toy), "Q4_0", "--output", str(target), *FEW)
    with open_gguf(target) as file:
        assert file.metadata["general.license"] == "apache-2.0"
        assert file.metadata["general.base_model.0.name"] == "Toy"
        assert file.metadata["freehold.quantize.source.digest"] == identity_of(toy).digest


def test_terms_that_forbid_it_come_first(freehold: Run, toy: Path, tmp_path: Path) -> None:
    file = small(DIMS)
    file.keys["general.license"] = "llama3.1"
    source, target = file.write(tmp_path / "other.gguf"), tmp_path / "small.gguf"
    ran = freehold("quantize", str(source), "Q4_0", "--output", str(target), *FEW)
    assert ran.status != 0
    assert "error[library.acceptance_needed]" in ran.err
    assert not target.exists()


@pytest.mark.parametrize("flag", ["--calibration", "--heldout"])
def test_a_text_that_is_not_there_is_named_before_the_network_loads(
    flag: str, freehold: Run, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    monkeypatch.setattr(Source, "begin_loading", loads.append)
    absent, target = tmp_path / "absent.txt", tmp_path / "small.gguf"
    ran = freehold("quantize", str(toy), "Q4_0", "--output", str(target), flag, str(absent))
    assert ran.status != 0
    assert "error[quantize.bad_recipe]" in ran.err
    assert absent.name in ran.err
    assert not loads
    assert not target.exists()


def test_a_signal_to_end_leaves_nothing_behind(
    freehold: Run, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[Path] = []

    def ended(*_: object) -> None:
        parts.extend(tmp_path.glob(".*.part"))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(importlib.import_module("freehold.quantize.shrink"), "measure", ended)
    ran = freehold("quantize", str(toy), "Q4_0", "--output", str(tmp_path / "small.gguf"), *FEW)
    assert ran.status == 128 + signal.SIGTERM
    assert len(parts) == 1, "the file was being written"
    assert [each.name for each in tmp_path.glob("*.gguf*")] == [toy.name]
    assert not list(tmp_path.glob(".*.part"))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_size_is_fitted_and_drawn(freehold: Run, toy: Path, tmp_path: Path) -> None:
    page, target = tmp_path / "curve.html", tmp_path / "small.gguf"
    ran = freehold(
        *("quantize", str(toy), "--fit", "80kB", "--output", str(target)),
        *("--html", str(page), *FEW),
    )
    assert ran.status == 0, ran.err
    assert target.stat().st_size <= 80_000
    assert "chosen; measured" in ran.out
    assert "<svg" in page.read_text()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ((), "quantize.bad_recipe"),
        (("Q5_X",), "quantize.bad_recipe"),
        (("Q4_0", "--fit", "1GB"), "quantize.bad_recipe"),
        (("--fit", "1GB", "--max-kl", "0.1"), "quantize.bad_recipe"),
        (("--fit", "large"), "quantize.bad_recipe"),
        (("--fit", "1kB"), "quantize.out_of_reach"),
        (("Q4_0", "--html", "curve.html"), "quantize.bad_recipe"),
        (("Q4_0", "--method", "magic"), "quantize.bad_recipe"),
        (("Q4_0", "--calibration", "absent.txt"), "quantize.bad_recipe"),
    ],
)
def test_what_cannot_be_done_is_said(
    freehold: Run, toy: Path, tmp_path: Path, flags: tuple[str, ...], code: str
) -> None:
    target = tmp_path / "small.gguf"
    ran = freehold("quantize", str(toy), *flags, "--output", str(target), *FEW)
    assert ran.status != 0
    assert f"error[{code}]" in ran.err
    assert not target.exists()


def test_an_existing_file_stays_unless_it_may_go(freehold: Run, toy: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    target.write_text("mine")
    refused = freehold("quantize", str(toy), "Q4_0", "--output", str(target), *FEW)
    assert "error[quantize.bad_recipe]" in refused.err
    assert target.read_text() == "mine"
    assert (
        freehold("quantize", str(toy), "Q4_0", "--output", str(target), "--force", *FEW).status == 0
    )
    assert target.stat().st_size > 1000
    own = freehold("quantize", str(toy), "Q4_0", "--output", str(toy), "--force", *FEW)
    assert "the source itself" in own.err
