"""From a reference to a recorded adapter: the child process, its errors, its record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from freehold.config import Settings, resolve_settings
from freehold.errors import BadTraining, NotAdmitted, ShapeMismatch, TuneError
from freehold.library.record import open_record
from freehold.store import open_store
from freehold.tune import running
from freehold.tune.datasets.registry import Grounds, Registry
from freehold.tune.provenance import read_provenance
from freehold.tune.running import place_of, run_worker, tune
from freehold.tune.training.events import read_events
from freehold.tune.training.spec import TrainSpec
from freehold.tune.worker import ERROR, SPEC, STOPPED, main

WORDS = ("blue", "red", "green", "white", "black", "brown", "pink", "grey", "gold", "cyan")


def worker(directory: Path) -> None:
    run_worker(directory, processes=1, on_event=lambda _event: None)


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "x" * 65, "naïve", "a b"])
def test_names_that_could_be_paths_are_refused(home: Path, name: str) -> None:
    with pytest.raises(BadTraining, match="cannot be a name"):
        place_of(name, resolve_settings())


def test_a_folder_without_a_specification_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 1
    said = json.loads((tmp_path / ERROR).read_text())
    assert said["code"] == "tune.bad_training"
    assert "nothing to train" in said["message"]
    assert capsys.readouterr().err == "", "whoever reads the file would tell of it again"


def test_the_worker_s_error_is_raised_here_as_it_was_there(tmp_path: Path) -> None:
    spec = TrainSpec(base=str(tmp_path / "gone.gguf"), data=str(tmp_path / "lines.jsonl"))
    (tmp_path / SPEC).write_text(spec.as_json())
    with pytest.raises(BadTraining, match="not there") as failed:
        worker(tmp_path)
    assert failed.value.expected == "a file or a directory"


def test_every_code_finds_its_class() -> None:
    said: dict[str, Any] = {"code": "load.shape_mismatch", "message": "m", "hint": "h"}
    found = running._known(said)
    assert type(found) is ShapeMismatch
    assert found.hint == "h"
    assert type(running._known({"code": "no.such"})) is TuneError


def test_a_name_keeps_the_settings_that_it_began_with(tmp_path: Path) -> None:
    spec, other = (TrainSpec(base="b", data="d", rank=rank) for rank in (2, 3))
    place = tmp_path / "one"
    running._prepare(place, other, again=False)
    running._prepare(place, spec, again=False)  # nothing was trained yet
    (place / "events.jsonl").touch()
    running._prepare(place, spec, again=False)
    with pytest.raises(BadTraining, match="another training") as failed:
        running._prepare(place, other, again=False)
    assert failed.value.found == "others: rank"
    running._prepare(place, other, again=True)


def admitted(lines: Path, settings: Settings) -> str:
    """The digest of a file that was taken in."""
    registry = Registry(open_store(settings.database, settings.home), settings.home)
    grounds = Grounds(basis="own", licence="ours", provenance="written here")
    try:
        return registry.add("colours", lines, grounds).digest
    finally:
        registry.close()


@pytest.mark.weights
@pytest.mark.slow
def test_a_training_is_recorded_and_knows_how_it_was_rendered(
    home: Path, starter_path: Path, tmp_path: Path
) -> None:
    place = home / "models" / "starter" / starter_path.name
    place.parent.mkdir(parents=True)
    place.symlink_to(starter_path.absolute())
    lines = tmp_path / "lines.jsonl"
    with lines.open("w") as file:
        for word in WORDS:
            said = [{"role": "user", "content": f"Say {word}."}]
            said.append({"role": "assistant", "content": word})
            file.write(json.dumps({"messages": said}) + "\n")
    settings = resolve_settings()
    spec = TrainSpec(base="", data=str(lines), heldout=str(lines), rank=2, epochs=2)
    with pytest.raises(NotAdmitted, match="nothing says why"):
        tune("starter", spec, "colours", settings=settings)
    digest = admitted(lines, settings)
    made = tune("starter", spec, "colours", settings=settings)
    assert made.result.adapter_dir is not None
    assert made.result.heldout_loss is not None
    assert made.result.first_heldout_loss is not None
    assert made.result.heldout_loss < made.result.first_heldout_loss
    known = read_provenance(made.result.adapter_dir)
    assert known is not None
    assert known.datasets == (digest,)
    with open_record(settings) as events:
        (event,) = [each for each in events.all() if each.kind == "tuned"]
    assert list(event.parents) == [known.base, digest]
    assert str(lines) not in json.dumps(event.body)
    again = tune("starter", spec, "colours", settings=settings)
    assert again.result == made.result
    served = [sys.executable, "-m", "freehold", "run", "starter", "Say red.", "--max-tokens", "4"]
    served += ["--adapter", str(made.result.adapter_dir), "--temperature", "0"]
    assert subprocess.run(served, capture_output=True, timeout=120).returncode == 0
    assert STOPPED != 0
    assert read_events(made.directory / "events.jsonl")[-1]["kind"] == "finished"
