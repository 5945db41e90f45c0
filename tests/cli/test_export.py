"""`freehold merge` and `freehold export`: what they show, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.loading.small_adapter import small_adapter
from tests.tune.export.conftest import DIMS, checkpoint, provenance


@pytest.fixture
def trained(tmp_path: Path) -> tuple[str, str]:
    """A base and an adapter, as a command names them."""
    base = checkpoint().write(tmp_path / "base.gguf")
    adapter = small_adapter(DIMS).write(tmp_path / "poet")
    provenance(base, adapter)
    return str(base), str(adapter)


def test_a_merged_file_is_shown_with_its_drift(
    freehold: Run, trained: tuple[str, str], tmp_path: Path
) -> None:
    made = tmp_path / "poet.gguf"
    ran = freehold("merge", *trained, "--output", str(made))
    assert ran.status == 0, ran.err
    assert "as trained" in ran.out
    assert "nats a token from the adapter's answers" in ran.out
    assert made.is_file()
    deed = freehold("deed", str(made))
    assert "with poet as gguf in F16 by" in deed.out
    assert "Made from" in deed.out


def test_a_training_is_named_as_it_was_named_then(
    freehold: Run, trained: tuple[str, str], home: Path, tmp_path: Path
) -> None:
    place = home / "tuned" / "poet-1" / "adapter"
    place.parent.mkdir(parents=True)
    Path(trained[1]).rename(place)
    ran = freehold("export", trained[0], "poet-1", "--as", "peft", "-o", str(tmp_path / "p"))
    assert ran.status == 0, ran.err
    assert freehold("merge", trained[0], "poet-2", "-o", str(tmp_path / "m")).status == 1


def test_every_form_is_told_as_json(
    freehold: Run, trained: tuple[str, str], tmp_path: Path
) -> None:
    for form, more in (("peft", ()), ("gguf", ("--recipe", "q8_0", "--max-kl", "1"))):
        made = tmp_path / form
        ran = freehold("export", *trained, "--as", form, "-o", str(made), *more, "--json")
        assert ran.status == 0, ran.err
        said = json.loads(ran.out)
        assert said["path"] == str(made)
        assert said["form"] == form
        assert said["rendering"] == "as trained"
        assert (said["loss"] is None) == (form == "peft")


def test_a_refusal_says_what_differs(
    freehold: Run, trained: tuple[str, str], tmp_path: Path
) -> None:
    made = tmp_path / "made.gguf"
    ran = freehold(
        *("export", *trained, "--as", "gguf", "--recipe", "Q4_0"),
        *("--max-kl", "0.00001", "--output", str(made)),
    )
    assert ran.status == 1
    assert "error[export.answers_drift]" in ran.err
    assert not made.exists()
    (Path(trained[1]) / "freehold.json").unlink()
    ran = freehold("merge", *trained, "--output", str(made))
    assert ran.status == 1
    assert "--unproven" in ran.err
