"""What may be asked for: what was named at the start, and whatever else the store has."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from freehold.cli.serve import started_line
from freehold.config import Settings, resolve_settings
from freehold.errors import BadSetting
from freehold.library.importing import import_model
from freehold.server.cards import cards_of
from freehold.server.residents import Residents
from freehold.server.serving import Started
from tests.loading.small import Dims, small
from tests.loading.small_directory import write_directory, write_weights

DIMS = Dims(D=32, H=1, G=1, A=32, F=32, L=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return resolve_settings({"home": tmp_path / "home"}, environment={})


def directory(path: Path) -> Path:
    write_weights(write_directory(path))
    return path


def take_in(source: Path, settings: Settings, name: str | None = None) -> None:
    import_model(str(source), settings=settings, name=name, progress=lambda *_: None)


def test_a_directory_is_called_by_its_whole_name(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = directory(tmp_path / "Small-2.5-0.5B")
    for ref in (str(folder), f"{folder}/", os.path.relpath(folder)):
        assert list(cards_of([ref], settings)) == ["Small-2.5-0.5B"]
    monkeypatch.chdir(folder)
    assert list(cards_of(["."], settings)) == ["Small-2.5-0.5B"]


def test_the_store_s_models_may_be_asked_for_by_their_names(
    tmp_path: Path, settings: Settings
) -> None:
    take_in(directory(tmp_path / "Small-2.5"), settings)
    take_in(small(DIMS).write(tmp_path / "tiny.gguf"), settings, name="mine")
    cards = cards_of((), settings)
    assert cards.keys() == {"small-2.5", "mine"}
    assert cards["mine"].sha256 is not None
    assert cards["mine"].family == "llama"
    # Nothing is loaded at the start but what was named there.
    assert Residents(settings=settings)._at_start == []
    named = Residents(settings=settings, refs=["small-2.5"])
    assert named._at_start == ["small-2.5"]
    assert {card.id for card in named.cards()} == {"small-2.5", "mine"}


def test_a_file_and_what_was_imported_from_it_are_one_model(
    tmp_path: Path, settings: Settings
) -> None:
    file = small(DIMS).write(tmp_path / "tiny.gguf")
    take_in(file, settings)
    assert list(cards_of([str(file), "tiny"], settings)) == ["tiny"]
    (tmp_path / "else").mkdir()
    other = small(DIMS, seed=1).write(tmp_path / "else" / "tiny.gguf")
    with pytest.raises(BadSetting, match="two models would be called 'tiny'"):
        cards_of([str(other)], settings)


def test_one_of_the_store_that_cannot_be_read_stops_nobody(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    take_in(small(DIMS).write(tmp_path / "good.gguf"), settings)
    take_in(small(DIMS).write(tmp_path / "bad.gguf"), settings)
    (bad,) = settings.home.rglob("bad.gguf")
    bad.unlink()
    bad.write_bytes(b"GGUFnothing")
    with caplog.at_level(logging.WARNING):
        assert list(cards_of((), settings)) == ["good"]
    assert "bad of the store is not served" in caplog.text


def test_the_first_line_names_what_may_be_asked_for() -> None:
    def line(*names: str) -> str:
        return started_line(
            Started(
                url="http://x", socket=None, version="1", needs_key=False, known=names, models=()
            )
        )

    assert "serves a, b on demand at" in line("a", "b")
    assert "serves 0, 1, 2, 3, 4, 5 and 2 more on demand" in line(*map(str, range(8)))
    assert "serves no model yet" in line()
